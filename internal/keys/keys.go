// Package keys keeps the secrets of one deployment: passwords of the database,
// the workers' token, the key rings of the zones, the certificate authority of
// the proxy, and the keys that each process signs its audit with. Each lies in a folder that its owner alone mounts, in a file that
// its owner alone reads. They are made once ([Make]); after that they change by
// [Deployment.Rotate], [Deployment.Prune] and a restore, and in no other way.
//
// # What holds
//
//   - A second [Make] changes nothing. It looks whether every file is there, has
//     its owner and mode and fits the others. What is wrong is said and not
//     repaired: a secret that somebody else could read is not made safe by a chmod.
//   - A file is replaced by a rename: whoever reads it has the old or the new one.
//   - A ring has a key before anything is sealed with it, and keeps it until
//     nothing is. The order of a rotation is ring, public key, credentials; a
//     rotation that was killed anywhere leaves everything openable, and the next
//     one goes on from there.
//   - Errors and logs name files and key ids, never their content.
//
// A kill during the first Make leaves half of a set, which is refused from then
// on: nothing can have been stored with it yet, so it is thrown away.
//
// # A release that needs more
//
// The set has a number, in a file of its own, and so has each file: that of the
// first set it was part of. Make adds what a later set has to an earlier one and
// then raises the number; until that is done, what it adds is made anew at each
// start, since nobody has used it yet. A file that an earlier set has and that is
// missing is lost, and never made again. A set with a higher number than this
// program knows is refused.
package keys

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

// Owners are the UIDs of the processes.
type Owners struct{ API, Agent, Gateway, Proxy, Postgres int }

// Database says where the database is. It is part of what is made: the URLs.
type Database struct {
	Host, Name  string
	Port        int
	Owner       string     // the role that migrates
	Password    ops.Secret // of Owner; empty means one is made, for a Postgres that is started with it
	SSLMode     string     // as libpq names it
	SSLRootCert string     // path of the authorities' file, where the processes see it; may be empty
}

// Config says what to make, and where.
type Config struct {
	Dir      string
	Owners   Owners
	Database Database
	// Anchors, if it is set, has a folder for each process that keeps heads of
	// its audit there; Make gives them to their owners. It is apart from Dir, as
	// the processes write there.
	Anchors string
}

// Deployment is a complete set of secrets on disk.
type Deployment struct {
	c      Config
	values values
	public map[ops.Zone]seal.PublicKey // what the api seals with
}

// values are the secrets from which all files follow.
type values struct {
	passwords   map[string]ops.Secret // by role
	owner       ops.Secret            // password of the owner of the database
	workerToken ops.Secret
	rings       map[ops.Zone]seal.Ring
	authority   authority               // of the proxy; none in a set 1
	audit       map[string]ops.AuditKey // by chain; none before set 3
	auditPublic ops.AuditKeys           // those and the ones before them
}

// Zones are those with a ring: of tools and egress the api has the public key
// and another process the ring; that of the zone api is the api's alone.
var Zones = []ops.Zone{ops.ZoneTools, ops.ZoneEgress, ops.ZoneAPI}

// publicZones are those that the api has the public key of, and not the ring.
var publicZones = []ops.Zone{ops.ZoneTools, ops.ZoneEgress}

// Make makes the secrets that are missing, all of them or those that this
// release adds, and checks what is there. It gives the names of what it made.
func Make(c Config) (made []string, d *Deployment, err error) {
	if err := c.Database.check(); err != nil {
		return nil, nil, err
	}
	set, err := c.set()
	switch {
	case err != nil:
	case set == 0:
		made, err = c.make()
	case set < currentSet:
		made, err = c.extend(set)
	}
	if err != nil {
		return nil, nil, err
	}
	if d, err = Open(c); err != nil {
		return made, nil, err
	}
	return made, d, c.makeAnchors()
}

// Open reads and checks the secrets.
func Open(c Config) (*Deployment, error) {
	if err := c.Database.check(); err != nil {
		return nil, err
	}
	switch set, err := c.set(); {
	case err != nil:
		return nil, err
	case set < currentSet:
		return nil, errors.New("secrets: they are not made yet, or an older release has made them: run akmatori-init first")
	}
	files, err := c.read(currentSet)
	if err != nil {
		return nil, err
	}
	v, err := parse(files)
	if err != nil {
		return nil, err
	}
	d := &Deployment{c: c, values: v, public: map[ops.Zone]seal.PublicKey{}}
	var wrong []string
	if given := c.Database.Password; !given.Empty() && !given.Equal(v.owner) {
		wrong = append(wrong, "postgres/password is not the password of the owner that the settings give")
	}
	for _, z := range publicZones {
		name := publicFile(z)
		key, err := seal.ParsePublic(files[name].Reveal())
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %v", name, err))
		case !slices.ContainsFunc(v.rings[z].Keys(), func(k seal.PrivateKey) bool { return k.Public().String() == key.String() }):
			wrong = append(wrong, name+" is of no key in "+ringFile(z))
		}
		d.public[z] = key
		files[name] = ops.NewSecret(v.rings[z].Public().String()) // an older one of the ring is right, too
	}
	want, err := c.render(v)
	if err != nil {
		return nil, err
	}
	for _, f := range c.files() {
		if !files[f.name].Equal(want[f.name]) {
			wrong = append(wrong, f.name+" does not fit the other files and the settings of the database")
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("secrets: %s: they are not of one deployment; mount the volumes that belong together and set what was set when they were made, or restore a backup into new ones", strings.Join(wrong, "; "))
	}
	return d, nil
}

// OwnerURL is the database as its owner.
func (d *Deployment) OwnerURL() ops.Secret {
	return d.c.Database.url(d.c.Database.Owner, d.values.owner)
}

// Ring is the keys of a zone.
func (d *Deployment) Ring(zone ops.Zone) seal.Ring { return d.values.rings[zone] }

// Interrupted says whether a rotation was: the newest key of a ring is not the
// one that is sealed with.
func (d *Deployment) Interrupted() bool {
	return slices.ContainsFunc(publicZones, func(z ops.Zone) bool { return d.values.rings[z].Public().ID() != d.public[z].ID() })
}

// make generates a set and writes it.
func (c Config) make() ([]string, error) {
	v := values{passwords: map[string]ops.Secret{}, owner: c.Database.Password, workerToken: ops.NewToken(ops.WorkerTokenPrefix),
		rings: map[ops.Zone]seal.Ring{}}
	if v.owner.Empty() {
		v.owner = ops.NewToken("")
	}
	for _, role := range postgres.Roles {
		v.passwords[role] = ops.NewToken("")
	}
	for _, z := range Zones {
		key, _, err := seal.GenerateKey(z)
		if err != nil {
			return nil, err
		}
		if v.rings[z], err = seal.NewRing(key); err != nil {
			return nil, err
		}
	}
	var err error
	if v.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	v.newAuditKeys()
	files, err := c.render(v)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(files)), c.write(files)
}

// extend adds what this release has to an older set.
func (c Config) extend(set int) (added []string, err error) {
	files, err := c.read(set)
	if err != nil {
		return nil, err
	}
	v, err := parse(files)
	if err != nil {
		return nil, err
	}
	if set < 2 {
		if v.authority, err = newAuthority(); err != nil {
			return nil, err
		}
	}
	v.newAuditKeys()
	if files, err = c.render(v); err != nil {
		return nil, err
	}
	for _, f := range c.files() {
		if f.since <= set || f.name == setFile {
			continue
		}
		if err := c.replace(f.name, files[f.name]); err != nil {
			return nil, err
		}
		added = append(added, f.name)
	}
	return added, c.replace(setFile, files[setFile]) // last: now it is complete
}

// render gives the content of every file.
func (c Config) render(v values) (map[string]ops.Secret, error) {
	db := c.Database
	files := map[string]ops.Secret{
		"postgres/password":          v.owner,
		"migrate/owner-database-url": db.url(db.Owner, v.owner),
		"api/worker-token":           v.workerToken,
		"agent/worker-token":         v.workerToken,
		authorityKeyFile:             v.authority.key,
		authorityCertFile:            v.authority.certificate,
		authorityTrusted:             v.authority.certificate,
		auditPublicFile:              ops.NewSecret(v.auditPublic.String()),
		setFile:                      ops.NewSecret(strconv.Itoa(currentSet)),
	}
	for role, name := range passwordFiles {
		files[name] = v.passwords[role]
		files[urlFiles[role]] = db.url(role, v.passwords[role])
	}
	for _, z := range Zones {
		text, err := v.rings[z].Text()
		if err != nil {
			return nil, err
		}
		files[ringFile(z)] = text
	}
	for _, z := range publicZones {
		files[publicFile(z)] = ops.NewSecret(v.rings[z].Public().String())
	}
	for _, chain := range ops.AuditChains {
		files[auditFile(chain)] = v.audit[chain].Text()
	}
	return files, nil
}

// The files that a role's secrets are in.
var (
	passwordFiles = map[string]string{postgres.RoleAPI: "migrate/api-password", postgres.RoleGateway: "migrate/gateway-password",
		postgres.RoleProxy: "migrate/proxy-password"}
	urlFiles = map[string]string{postgres.RoleAPI: "api/database-url", postgres.RoleGateway: "gateway/database-url",
		postgres.RoleProxy: "proxy/database-url"}
)

func ringFile(z ops.Zone) string {
	return map[ops.Zone]string{ops.ZoneTools: "gateway/tools-key", ops.ZoneEgress: "proxy/egress-key", ops.ZoneAPI: "api/api-key"}[z]
}

func publicFile(z ops.Zone) string { return "api/" + string(z) + "-public-key" }

// parse reads the values out of the files that hold them first.
func parse(files map[string]ops.Secret) (values, error) {
	v := values{passwords: map[string]ops.Secret{}, owner: files["postgres/password"], workerToken: files["agent/worker-token"],
		rings: map[ops.Zone]seal.Ring{}}
	var wrong []string
	for _, role := range postgres.Roles {
		v.passwords[role] = files[passwordFiles[role]]
		if !token(v.passwords[role], "") {
			wrong = append(wrong, passwordFiles[role])
		}
	}
	if v.owner.Empty() || strings.ContainsAny(v.owner.Reveal(), "\r\n\x00") {
		wrong = append(wrong, "postgres/password")
	}
	if !token(v.workerToken, ops.WorkerTokenPrefix) {
		wrong = append(wrong, "agent/worker-token")
	}
	for _, z := range Zones {
		ring, err := seal.ParseRing(z, files[ringFile(z)])
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s (%v)", ringFile(z), err))
		}
		v.rings[z] = ring
	}
	if key, ok := files[authorityKeyFile]; ok {
		v.authority = authority{key, files[authorityCertFile]}
		if err := v.authority.check(); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s and %s (%v)", authorityKeyFile, authorityCertFile, err))
		}
	}
	wrong = append(wrong, v.parseAudit(files)...)
	if len(wrong) > 0 {
		return v, fmt.Errorf("secrets: malformed: %s: restore a backup into new volumes", strings.Join(wrong, ", "))
	}
	return v, nil
}

// token says whether s is as [ops.NewToken] makes them.
func token(s ops.Secret, prefix string) bool {
	rest, ok := strings.CutPrefix(s.Reveal(), prefix)
	return ok && len(rest) == 43 && !strings.ContainsFunc(rest, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
	})
}

func (db Database) check() error {
	switch {
	case db.Host == "" || db.Name == "" || db.Owner == "":
		return errors.New("secrets: the host, name and owner of the database are needed")
	case db.Port < 1 || db.Port > 65535:
		return fmt.Errorf("secrets: %d is no port of a database", db.Port)
	case !slices.Contains([]string{"disable", "require", "verify-ca", "verify-full"}, db.SSLMode):
		return fmt.Errorf("secrets: the SSL mode %q is not one of disable, require, verify-ca, verify-full", db.SSLMode)
	case slices.Contains(postgres.Roles, db.Owner):
		return fmt.Errorf("secrets: the owner of the database is %s, which is the role of a process", db.Owner)
	}
	return nil
}

func (db Database) url(role string, password ops.Secret) ops.Secret {
	query := url.Values{"sslmode": {db.SSLMode}}
	if db.SSLRootCert != "" {
		query.Set("sslrootcert", db.SSLRootCert)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password.Reveal()), Host: net.JoinHostPort(db.Host, strconv.Itoa(db.Port)),
		Path: "/" + db.Name, RawQuery: query.Encode()}
	return ops.NewSecret(u.String())
}

// currentSet is the number of the set that this release makes. It grows with
// each release that has a file more.
const currentSet = 3

// setFile has the number of the set; set 1 was made without.
const setFile = "migrate/set"

// file is one of the set.
type file struct {
	name  string // FOLDER/NAME
	uid   int
	since int // number of the first set that has it
}

// files lists the set in the order in which it is made: first its number, so
// that half of it is never taken for an older one.
func (c Config) files() []file {
	o := c.Owners
	var all []file
	for _, f := range []struct {
		folder string
		uid    int
		since  int
		names  []string
	}{
		{"migrate", o.API, 2, []string{"set"}},
		{"api", o.API, 1, []string{"database-url", "worker-token", "tools-public-key", "egress-public-key", "api-key"}},
		{"migrate", o.API, 1, []string{"owner-database-url", "api-password", "gateway-password", "proxy-password"}},
		{"agent", o.Agent, 1, []string{"worker-token"}},
		{"agent", o.Agent, 2, []string{"proxy-ca"}},
		{"api", o.API, 3, []string{"audit-key", "audit-public-keys"}},
		{"gateway", o.Gateway, 1, []string{"database-url", "tools-key"}},
		{"gateway", o.Gateway, 3, []string{"audit-key"}},
		{"proxy", o.Proxy, 1, []string{"database-url", "egress-key"}},
		{"proxy", o.Proxy, 2, []string{"ca-key", "ca-certificate"}},
		{"proxy", o.Proxy, 3, []string{"audit-key"}},
		{"postgres", o.Postgres, 1, []string{"password"}},
	} {
		for _, name := range f.names {
			all = append(all, file{f.folder + "/" + name, f.uid, f.since})
		}
	}
	return all
}

func (c Config) path(name string) string { return filepath.Join(c.Dir, filepath.FromSlash(name)) }

// set gives the number of the set that is there, 0 if there is none. Half of a
// set is an error.
func (c Config) set() (int, error) {
	number, err := c.number()
	if err != nil {
		return 0, err
	}
	var have, missing []string
	for _, f := range c.files() {
		switch _, err := os.Lstat(c.path(f.name)); {
		case err == nil:
			have = append(have, f.name)
		case !errors.Is(err, os.ErrNotExist):
			return 0, fmt.Errorf("secrets: %w", err)
		case f.since <= number:
			missing = append(missing, f.name)
		}
	}
	switch {
	case len(have) == 0:
		return 0, nil
	case len(missing) == 0:
		return number, nil
	}
	return 0, fmt.Errorf("secrets: %s: missing, but others are there: if this deployment has never run, remove its volumes and start again; if it has, mount the volume that is missing or restore a backup into new ones", strings.Join(missing, ", "))
}

// number is what the set says of itself.
func (c Config) number() (int, error) {
	text, err := c.readFile(c.files()[0])
	if errors.Is(err, os.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("secrets: %w", err)
	}
	n, err := strconv.Atoi(text.Reveal())
	switch {
	case err != nil || n < 2:
		return 0, fmt.Errorf("secrets: malformed: %s: restore a backup into new volumes", setFile)
	case n > currentSet:
		return 0, fmt.Errorf("secrets: a newer release has made them (set %d, this one knows %d): run that release, or a newer one", n, currentSet)
	}
	return n, nil
}
