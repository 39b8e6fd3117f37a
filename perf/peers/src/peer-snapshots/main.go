// peer-snapshots is both ends of a measurement of snapshotters: callers that do what containerd does when it unpacks, and
// containerd 1.6's own overlayfs snapshotter (Debian's golang-github-containerd-containerd-dev) behind a socket of its own,
// so that it can be compared with another program that answers on a socket.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/snapshots/overlay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const usage = `usage: peer-snapshots VERB ARGUMENT...
  calls SOCKET SNAPSHOTTER MARK [CALLERS [ROUNDS]]
                      seconds that CALLERS (16) take who each Prepare, Stat and Commit ROUNDS (20) snapshots, one after the
                      other, all on one connection, as containerd's are; then, with the Removes that follow, microseconds
                      of the calls: median, slowest tenth, slowest. MARK is the beginning of the names and containerd's namespace.
  serve SOCKET ROOT   containerd's overlayfs snapshotter, until it is killed
`

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) >= 4 && arguments[0] == "calls":
		err = calls(arguments[1], arguments[2], arguments[3], number(arguments, 4, 16), number(arguments, 5, 20))
	case len(arguments) == 3 && arguments[0] == "serve":
		err = serve(arguments[1], arguments[2])
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(64)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer-snapshots:", err)
		os.Exit(1)
	}
}

func number(arguments []string, index, otherwise int) int {
	if index < len(arguments) {
		if value, err := strconv.Atoi(arguments[index]); err == nil && value > 0 {
			return value
		}
	}
	return otherwise
}

// times keeps how long each kind of call took.
type times struct {
	mutex sync.Mutex
	taken map[string][]time.Duration
}

func (t *times) measure(name string, call func() error) error {
	start := time.Now()
	err := call()
	taken := time.Since(start)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.taken[name] = append(t.taken[name], taken)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func calls(socket, snapshotter, mark string, callers, rounds int) error {
	connection, err := grpc.Dial("unix://"+socket, grpc.WithInsecure(), grpc.WithBlock())
	if err != nil {
		return err
	}
	defer connection.Close()
	client := api.NewSnapshotsClient(connection)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "containerd-namespace", mark)
	// What unpacking sends, so that nothing is collected meanwhile.
	labels := map[string]string{"containerd.io/gc.root": "2026-11-21T12:00:00Z"}
	seen := times{taken: map[string][]time.Duration{}}
	failures := make(chan error, callers)
	start := time.Now()
	for caller := 0; caller < callers; caller++ {
		go func(caller int) {
			failures <- func() error {
				for round := 0; round < rounds; round++ {
					name := fmt.Sprintf("%s-%d-%d", mark, caller, round)
					key := name + "-key"
					if err := seen.measure("Prepare", func() error {
						_, err := client.Prepare(ctx, &api.PrepareSnapshotRequest{
							Snapshotter: snapshotter, Key: key, Labels: labels})
						return err
					}); err != nil {
						return err
					}
					if err := seen.measure("Stat", func() error {
						_, err := client.Stat(ctx, &api.StatSnapshotRequest{Snapshotter: snapshotter, Key: key})
						return err
					}); err != nil {
						return err
					}
					if err := seen.measure("Commit", func() error {
						_, err := client.Commit(ctx, &api.CommitSnapshotRequest{
							Snapshotter: snapshotter, Name: name, Key: key, Labels: labels})
						return err
					}); err != nil {
						return err
					}
				}
				return nil
			}()
		}(caller)
	}
	for caller := 0; caller < callers; caller++ {
		if err := <-failures; err != nil {
			return err
		}
	}
	seconds := time.Since(start).Seconds()
	for caller := 0; caller < callers; caller++ {
		for round := 0; round < rounds; round++ {
			name := fmt.Sprintf("%s-%d-%d", mark, caller, round)
			if err := seen.measure("Remove", func() error {
				_, err := client.Remove(ctx, &api.RemoveSnapshotRequest{Snapshotter: snapshotter, Key: name})
				return err
			}); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%.3f", seconds)
	for _, name := range []string{"Prepare", "Stat", "Commit", "Remove"} {
		taken := seen.taken[name]
		sort.Slice(taken, func(i, j int) bool { return taken[i] < taken[j] })
		fmt.Printf("  %s %d %d %d", name, taken[len(taken)/2].Microseconds(),
			taken[len(taken)*9/10].Microseconds(), taken[len(taken)-1].Microseconds())
	}
	fmt.Println()
	return nil
}

func serve(socket, root string) error {
	// As containerd's plugin makes it: what is removed goes at Cleanup.
	snapshotter, err := overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	return server.Serve(listener)
}
