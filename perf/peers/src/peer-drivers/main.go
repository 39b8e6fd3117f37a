// peer-drivers makes, mounts, unmounts and removes layers with Docker 20.10's own graph drivers (Debian's
// golang-github-docker-docker-dev), and says how long each call took, so that another driver can be compared with them.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/docker/docker/daemon/graphdriver"
	fuseoverlayfs "github.com/docker/docker/daemon/graphdriver/fuse-overlayfs"
	"github.com/docker/docker/daemon/graphdriver/overlay"
	"github.com/docker/docker/daemon/graphdriver/overlay2"
	"github.com/docker/docker/pkg/reexec"
)

const usage = `usage: peer-drivers latency DRIVER HOME COUNT
  COUNT containers' layers on one base, one after the other: Create, Get, Put, Remove; prints seconds in all, then of each
  call the microseconds: median, slowest tenth, slowest. DRIVER: overlay2, overlay, fuse-overlayfs.
`

var drivers = map[string]graphdriver.InitFunc{
	"overlay2": overlay2.Init, "overlay": overlay.Init, "fuse-overlayfs": fuseoverlayfs.Init,
}

func main() {
	if reexec.Init() {
		return
	}
	if len(os.Args) != 5 || os.Args[1] != "latency" || drivers[os.Args[2]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(64)
	}
	count, err := strconv.Atoi(os.Args[4])
	if err == nil {
		err = latency(drivers[os.Args[2]], os.Args[3], count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer-drivers:", err)
		os.Exit(1)
	}
}

func latency(makeDriver graphdriver.InitFunc, home string, count int) error {
	driver, err := makeDriver(home, nil, nil, nil)
	if err != nil {
		return err
	}
	defer driver.Cleanup()
	if err := driver.Create("base", "", nil); err != nil {
		return err
	}
	names := []string{"Create", "Get", "Put", "Remove"}
	taken := map[string][]time.Duration{}
	start := time.Now()
	for index := 0; index < count; index++ {
		id := fmt.Sprintf("container-%d", index)
		calls := map[string]func() error{
			"Create": func() error { return driver.CreateReadWrite(id, "base", nil) },
			"Get":    func() error { _, err := driver.Get(id, ""); return err },
			"Put":    func() error { return driver.Put(id) },
			"Remove": func() error { return driver.Remove(id) },
		}
		for _, name := range names {
			begun := time.Now()
			if err := calls[name](); err != nil {
				return fmt.Errorf("%s %s: %w", name, id, err)
			}
			taken[name] = append(taken[name], time.Since(begun))
		}
	}
	fmt.Printf("%.3f", time.Since(start).Seconds())
	for _, name := range names {
		times := taken[name]
		sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
		fmt.Printf("  %s %d %d %d", name, times[len(times)/2].Microseconds(),
			times[len(times)*9/10].Microseconds(), times[len(times)-1].Microseconds())
	}
	fmt.Println()
	return nil
}
