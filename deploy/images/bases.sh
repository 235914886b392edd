#!/bin/bash
# Makes base images without a registry, for the tests of the images: root file
# systems as tar files, from Debian's archive, the Go and Node.js of this machine
# and their caches. As root. Nothing is made twice: a file is named by what went
# into it.
#
#   bases.sh DIR     prints a line NAME=FILE for each of debian, go, node, postgres
#
# debian has what the agent's image asks for (PACKAGES of Dockerfile.agent), so
# that it builds without a network; go and node are debian with a toolchain and
# the modules (compiled) and packages of this repository; postgres is debian with the
# PostgreSQL of this machine and an entrypoint that reads the variables of the
# official image.
set -euo pipefail
out=$(realpath -m "${1:?usage: bases.sh DIR}") self=$(realpath "$0")
cd "${self%/*}/../.."
mkdir -p "$out"
say() { echo "bases: $*" >&2; }
die() { say "$*"; exit 1; }
[ "$(id -u)" = 0 ] || die "this needs root"
for tool in debootstrap go node npm tar ldd; do command -v $tool >/dev/null || die "$tool is missing"; done
. /etc/os-release
suite=${VERSION_CODENAME:?}
packages=$(sed -n 's/^ARG PACKAGES="\(.*\)"$/\1/p' Dockerfile.agent)
[ -n "$packages" ] || die "Dockerfile.agent has no line ARG PACKAGES"

# name FILE-KIND INPUT... gives the file that these inputs make.
name() { local kind=$1; shift; echo "$out/$kind-$(cat "$@" | sha256sum | cut -c1-12).tar"; }
fresh() { # FILE: true if it must be made; older ones of its kind go away
  [ ! -s "$1" ] || return 1
  rm -f "${1%-*}"-*.tar
  say "making ${1##*/}"
}
work=$(mktemp -d "$out/work.XXXXXX")
set -m # a job is a process group, which is ended whole
trap 'for job in $(jobs -p); do kill -- -"$job" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT

goroot=$(go env GOROOT) modcache=$(go env GOMODCACHE)
pg=$(ls -d /usr/lib/postgresql/*/ | sort -V | tail -n 1)
pg=${pg%/}
[ -x "$pg/bin/initdb" ] || die "postgresql is missing"

debian=$(name debian <(echo "$suite $packages"; cat "$self"))
go=$(name go <(go version; basename "$debian") go.mod go.sum)
node=$(name node <(node --version; basename "$debian") web/package-lock.json)
postgres=$(name postgres <("$pg/bin/postgres" --version; basename "$debian") deploy/images/postgres-entrypoint.sh)

make_debian() {
  debootstrap --variant=minbase --include="ca-certificates,${packages// /,}" "$suite" "$work/root" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; die "debootstrap failed"; }
  rm -rf "$work"/root/usr/share/{doc,man,info,locale}/* "$work"/root/var/{lib/apt/lists,cache/apt,cache/debconf,log}/*
  tar -C "$work/root" --one-file-system -cf "$debian.new" .
  mv "$debian.new" "$debian"
}

make_go() {
  local tree=$work/go
  mkdir -p "$tree/usr/local"
  cp -a "$goroot" "$tree/usr/local/go"
  rm -rf "$tree"/usr/local/go/{test,api,doc}
  export GOMODCACHE=$tree/go/pkg/mod GOFLAGS="-modcacherw -trimpath -buildvcs=false" CGO_ENABLED=0
  GOPROXY="file://$modcache/cache/download,$(go env GOPROXY)" go mod download >&2
  # What is not ours is compiled here, once, and not with each image.
  go list -deps -f '{{if or .Standard (not .Module.Main)}}{{.ImportPath}}{{end}}' ./cmd/{api,init,mcp,proxy,agent} ./deploy/compose/demo |
    grep -v '^unsafe$' | GOCACHE=$tree/root/.cache/go-build xargs go build
}

make_node() {
  local tree=$work/node npm
  # A cache that an install without a network can be made from.
  mkdir "$work/web"
  cp web/package.json web/package-lock.json "$work/web"
  npm --prefix "$work/web" ci --cache "$work/npm" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  mkdir -p "$tree/root" "$tree/usr/local/bin" "$tree/usr/local/lib/node_modules"
  cp -L "$(command -v node)" "$tree/usr/local/bin/node"
  npm=$(dirname "$(dirname "$(realpath "$(command -v npm)")")")
  cp -r "$npm" "$tree/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$tree/usr/local/bin/npm"
  ln -s ../lib/node_modules/npm/bin/npx-cli.js "$tree/usr/local/bin/npx"
  mv "$work/npm" "$tree/root/.npm"
  rm -rf "$tree/root/.npm/_logs"
  echo 'offline=true' >"$tree/root/.npmrc"
}

make_postgres() { # needs debian
  local tree=$work/postgres lib program
  mkdir -p "$tree$pg" "$tree/usr/share/postgresql" "$tree/usr/local/bin" "$tree/etc/ld.so.conf.d" "$tree/var/lib/postgresql/data"
  cp -r "$pg/bin" "$pg/lib" "$tree$pg/"
  rm -rf "$tree$pg"/lib/bitcode "$tree$pg"/lib/llvmjit*
  cp -r "/usr/share/postgresql/${pg##*/}" "$tree/usr/share/postgresql/"
  ldd "$pg"/bin/* "$pg"/lib/*.so 2>/dev/null | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | grep -v LLVM | while read -r lib; do
    install -D "$(realpath "$lib")" "$tree/usr/local/pglibs/$(basename "$lib")"
  done
  for lib in "$tree"/usr/local/pglibs/*; do # what the base has, it keeps
    [ -z "$(tar -tf "$debian" 2>/dev/null | grep -m1 "/$(basename "$lib")\$")" ] || rm "$lib"
  done
  for program in postgres initdb psql pg_isready pg_ctl pg_dump; do ln -s "$pg/bin/$program" "$tree/usr/local/bin/$program"; done
  install -m 0755 deploy/images/postgres-entrypoint.sh "$tree/usr/local/bin/docker-entrypoint.sh"
  tar -xOf "$debian" ./etc/passwd >"$tree/etc/passwd"
  tar -xOf "$debian" ./etc/group >"$tree/etc/group"
  echo 'postgres:x:70:70::/var/lib/postgresql:/bin/sh' >>"$tree/etc/passwd"
  echo 'postgres:x:70:' >>"$tree/etc/group"
  install -d -m 2775 "$tree/run/postgresql"
  chown -R 70:70 "$tree/var/lib/postgresql" "$tree/run/postgresql"
  echo /usr/local/pglibs >"$tree/etc/ld.so.conf.d/postgresql.conf"
}

# on TREE FILE: the base with a tree on top of it. (An engine refuses a tar that
# has a path twice.)
on() {
  mkdir "$work/on"
  tar -C "$work/on" -xf "$debian"
  cp -a "$1/." "$work/on/"
  chroot "$work/on" ldconfig
  tar -C "$work/on" -cf "$2.new" .
  rm -rf "$work/on" "$1"
  mv "$2.new" "$2"
}

# What waits for packages and what compiles go side by side.
waited=()
for kind in debian go node; do
  if fresh "${!kind}"; then
    make_$kind &
    waited+=($!)
  fi
done
for job in "${waited[@]}"; do wait "$job"; done
if fresh "$postgres"; then make_postgres; fi
for kind in go node postgres; do
  [ ! -d "$work/$kind" ] || on "$work/$kind" "${!kind}"
done

printf '%s\n' "debian=$debian" "go=$go" "node=$node" "postgres=$postgres"
