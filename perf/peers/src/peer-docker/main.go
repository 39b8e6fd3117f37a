// peer-docker runs the layer code of Docker 20.10 (Debian's golang-github-docker-docker-dev) without a daemon,
// so that ldiff can be compared with it: the same bytes, the same trees, the same job against the clock.
// Only the choice of what to call is ours; everything it does is done by the packages it imports.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/docker/docker/pkg/archive"
	"github.com/docker/docker/pkg/directory"
	"github.com/docker/docker/pkg/idtools"
	"golang.org/x/sys/unix"
)

const usage = `usage: peer-docker VERB [--uid-map C:H:N]... [--gid-map C:H:N]... ARGUMENT...
  diff [--aufs] UPPER      the layer of an upper directory on standard output, as the overlay2 (aufs) driver writes it
  diff-naive NEW [OLD]     the layer of two full trees, as a driver without a native Diff writes it
  changes NEW [OLD]        the changes between two full trees, sorted by path
  changes-size NEW [OLD]   their size, as DiffSize of such a driver returns it
  size UPPER               the size of an upper directory, as overlay2's DiffSize returns it
  apply ROOT               unpacks the layer on standard input onto a full tree, prints its size
  apply-overlay UPPER      unpacks the layer on standard input into an overlay upper directory
  apply-aufs UPPER         the same, keeping the aufs forms of whiteouts
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer-docker:", err)
		os.Exit(1)
	}
}

type request struct {
	aufs       bool
	uids, gids []idtools.IDMap
	paths      []string
}

func (r request) path(index int) string {
	if index < len(r.paths) {
		return r.paths[index]
	}
	return ""
}

func parse(arguments []string) (request, error) {
	var r request
	for i := 0; i < len(arguments); i++ {
		switch arguments[i] {
		case "--aufs":
			r.aufs = true
		case "--uid-map", "--gid-map":
			if i+1 == len(arguments) {
				return r, fmt.Errorf("%s needs a value", arguments[i])
			}
			var m idtools.IDMap
			if _, err := fmt.Sscanf(arguments[i+1], "%d:%d:%d", &m.ContainerID, &m.HostID, &m.Size); err != nil {
				return r, fmt.Errorf("%s %s: %v", arguments[i], arguments[i+1], err)
			}
			if arguments[i] == "--uid-map" {
				r.uids = append(r.uids, m)
			} else {
				r.gids = append(r.gids, m)
			}
			i++
		default:
			r.paths = append(r.paths, arguments[i])
		}
	}
	if len(r.paths) == 0 {
		return r, fmt.Errorf("a directory is missing")
	}
	return r, nil
}

func run(verb string, arguments []string) error {
	r, err := parse(arguments)
	if err != nil {
		return err
	}
	first, second := r.path(0), r.path(1)
	switch verb {
	case "diff":
		options := &archive.TarOptions{
			Compression: archive.Uncompressed, UIDMaps: r.uids, GIDMaps: r.gids,
			WhiteoutFormat: archive.OverlayWhiteoutFormat,
		}
		if r.aufs {
			options.WhiteoutFormat = archive.AUFSWhiteoutFormat
			options.ExcludePatterns = []string{archive.WhiteoutMetaPrefix + "*", "!" + archive.WhiteoutOpaqueDir}
		}
		return send(archive.TarWithOptions(first, options))
	case "diff-naive":
		changes, err := archive.ChangesDirs(first, second)
		if err != nil {
			return err
		}
		return send(archive.ExportChanges(first, changes, r.uids, r.gids))
	case "changes":
		changes, err := archive.ChangesDirs(first, second)
		if err != nil {
			return err
		}
		return list(changes)
	case "changes-size":
		changes, err := archive.ChangesDirs(first, second)
		if err != nil {
			return err
		}
		fmt.Println(archive.ChangesSize(first, changes))
		return nil
	case "size":
		size, err := directory.Size(context.Background(), first)
		if err != nil {
			return err
		}
		fmt.Println(size)
		return nil
	case "apply":
		size, err := archive.ApplyUncompressedLayer(first, os.Stdin, &archive.TarOptions{UIDMaps: r.uids, GIDMaps: r.gids})
		if err != nil {
			return err
		}
		fmt.Println(size)
		return nil
	case "apply-overlay":
		return unpack(first, r, archive.OverlayWhiteoutFormat)
	case "apply-aufs":
		return unpack(first, r, archive.AUFSWhiteoutFormat)
	}
	return fmt.Errorf("no verb %q\n%s", verb, usage)
}

func unpack(upper string, r request, format archive.WhiteoutFormat) error {
	// The daemon unpacks in a child process that has cleared its umask; here it is this process.
	unix.Umask(0)
	return archive.Unpack(os.Stdin, upper, &archive.TarOptions{UIDMaps: r.uids, GIDMaps: r.gids, WhiteoutFormat: format})
}

func send(stream io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	_, err = io.Copy(os.Stdout, stream)
	return err
}

func list(changes []archive.Change) error {
	sort.Slice(changes, func(a, b int) bool { return changes[a].Path < changes[b].Path })
	buffer := make([]byte, 0, 1<<20)
	for i := range changes {
		buffer = append(buffer, changes[i].String()...)
		buffer = append(buffer, '\n')
	}
	_, err := os.Stdout.Write(buffer)
	return err
}
