// Command probe looks around in a container, as its user, and tells what it can
// reach, read and write. The test of the images builds it, static, and runs it
// in the namespaces of a container; it is in no image. A question comes as JSON
// on standard input, the answer goes to standard output.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	patience = 1500 * time.Millisecond
	maxFile  = 2 << 20 // of a file that is searched
)

// Question is what is to be tried.
type Question struct {
	TCP, UDP []string // addresses
	Names    []string // to resolve
	Post     []string // URLs
	Secrets  []string // to search for in all files, environments and command lines
	Walk     bool     // search and try to write everywhere
}

// Answer is what came of it.
type Answer struct {
	Open      []string          // addresses that answered
	Resolved  []string          // names
	Status    map[string]int    // of URLs; 0 if there was no answer
	Listeners []string          // address:port of TCP listeners, "udp " before UDP sockets
	Writable  []string          // folders (not what is in them) and files
	Found     map[string][]int  // file to the secrets in it, by number
	Process   map[string]string // fields of /proc/1/status
}

func main() {
	var q Question
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	a := Answer{Status: map[string]int{}, Found: map[string][]int{}, Process: status()}
	var mu sync.Mutex
	var tries sync.WaitGroup
	try := func(list []string, to *[]string, works func(string) bool) {
		for _, what := range list {
			tries.Go(func() {
				if works(what) {
					mu.Lock()
					defer mu.Unlock()
					*to = append(*to, what)
				}
			})
		}
	}
	try(q.TCP, &a.Open, dials)
	try(q.UDP, &a.Open, echoes)
	try(q.Names, &a.Resolved, resolves)
	for _, url := range q.Post {
		tries.Go(func() {
			code := post(url)
			mu.Lock()
			defer mu.Unlock()
			a.Status[url] = code
		})
	}
	tries.Wait()
	for _, f := range []string{"tcp", "tcp6", "udp", "udp6"} {
		a.Listeners = append(a.Listeners, listeners(f)...)
	}
	if q.Walk {
		walk(q.Secrets, &a)
	}
	slices.Sort(a.Open)
	_ = json.NewEncoder(os.Stdout).Encode(a)
}

func dials(address string) bool {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// echoes sends a datagram and waits for any answer.
func echoes(address string) bool {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "udp", address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte("probe"))
	_, err = conn.Read(make([]byte, 16))
	return err == nil
}

func resolves(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	return err == nil && len(addresses) > 0
}

func post(url string) int {
	client := &http.Client{Timeout: 2 * patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	method := http.MethodPost
	if strings.HasSuffix(url, "/agents") {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader("{}"))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func status() map[string]string {
	data, _ := os.ReadFile("/proc/1/status")
	fields := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// listeners reads /proc/net/tcp and its like.
func listeners(family string) (all []string) {
	f, err := os.Open("/proc/net/" + family)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	prefix, listening := "", "0A"
	if strings.HasPrefix(family, "udp") {
		prefix, listening = "udp ", "07"
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listening {
			continue
		}
		address, port, _ := strings.Cut(fields[1], ":")
		raw, err := hex.DecodeString(address)
		n, err2 := strconv.ParseUint(port, 16, 16)
		if err != nil || err2 != nil {
			continue
		}
		for i := 0; i+4 <= len(raw); i += 4 { // words in the machine's order
			slices.Reverse(raw[i : i+4])
		}
		all = append(all, prefix+net.JoinHostPort(net.IP(raw).String(), strconv.FormatUint(n, 10)))
	}
	return all
}

// walk tries to write into every folder and file and searches every file.
func walk(secrets []string, a *Answer) {
	found := map[string]map[int]bool{}
	search := func(path string, data []byte) {
		for i, s := range secrets {
			if bytes.Contains(data, []byte(s)) {
				if found[path] == nil {
					found[path] = map[int]bool{}
				}
				found[path][i] = true
			}
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/*")
	for _, path := range processes {
		if name := filepath.Base(path); name == "environ" || name == "cmdline" {
			data, _ := os.ReadFile(path)
			search(path, data)
		}
	}
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"} {
		if opens(path) {
			a.Writable = append(a.Writable, path)
		}
	}
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && d != nil && d.IsDir() && path != "/":
			return fs.SkipDir // not for us
		case err != nil:
			return nil //nolint:nilerr // what cannot be read is not ours to write
		case path == "/proc" || path == "/sys":
			return fs.SkipDir
		case d.IsDir():
			if creates(path) && !inside(path, a.Writable) {
				a.Writable = append(a.Writable, path)
			}
		case d.Type().IsRegular():
			if opens(path) && !inside(path, a.Writable) {
				a.Writable = append(a.Writable, path)
			}
			if info, err := d.Info(); err == nil && info.Size() <= maxFile {
				data, _ := os.ReadFile(path)
				search(path, data)
			}
		}
		return nil
	})
	for path, numbers := range found {
		a.Found[path] = slices.Sorted(maps.Keys(numbers))
	}
}

func inside(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(path, f+"/") })
}

func creates(folder string) bool {
	path := filepath.Join(folder, ".probe")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	_ = os.Remove(path)
	return true
}

func opens(path string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
