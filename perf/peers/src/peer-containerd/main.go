// peer-containerd runs the layer code of containerd 1.6 (Debian's golang-github-containerd-containerd-dev) without a
// daemon, so that ldiff can be compared with it: the same bytes, the same trees, the same job against the clock.
// Only the choice of what to call is ours; everything it does is done by the packages it imports.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/archive"
	"github.com/containerd/containerd/archive/compression"
	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

const usage = `usage: peer-containerd VERB ARGUMENT...
  diff NEW [OLD]          the layer of a tree, or of what differs from OLD, on standard output
  diff-gz NEW [OLD]       the same, gzip-compressed, with both digests on standard error, as the differ service does
  changes NEW [OLD]       the changes, in the order of the walk
  usage DIR               inodes and disk usage of a tree, as the snapshotter counts them
  usage-diff NEW OLD      inodes and disk usage of what differs
  apply ROOT              unpacks the layer on standard input onto a full tree, prints its size
  apply-gz ROOT           the same for a compressed layer, checking both digests' worth of bytes, as the service does
  apply-overlay UPPER     unpacks the layer on standard input into an overlay upper directory
`

func main() {
	if len(os.Args) < 3 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(64)
	}
	second := ""
	if len(os.Args) > 3 {
		second = os.Args[3]
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], second); err != nil {
		fmt.Fprintln(os.Stderr, "peer-containerd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verb, first, second string) error {
	// The daemon runs with a cleared umask.
	unix.Umask(0)
	switch verb {
	case "diff":
		return archive.WriteDiff(ctx, os.Stdout, second, first)
	case "diff-gz":
		return compressedDiff(ctx, first, second)
	case "changes":
		return changes(ctx, first, second)
	case "usage":
		return report(fs.DiskUsage(ctx, first))
	case "usage-diff":
		return report(fs.DiffUsage(ctx, second, first))
	case "apply":
		return applied(archive.Apply(ctx, first, os.Stdin))
	case "apply-gz":
		return compressedApply(ctx, first)
	case "apply-overlay":
		return applied(archive.Apply(ctx, first, os.Stdin, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)))
	}
	return fmt.Errorf("no verb %q\n%s", verb, usage)
}

func compressedDiff(ctx context.Context, upper, lower string) error {
	layer, content := sha256.New(), sha256.New()
	compressed, err := compression.CompressStream(io.MultiWriter(os.Stdout, layer), compression.Gzip)
	if err != nil {
		return err
	}
	if err := archive.WriteDiff(ctx, io.MultiWriter(compressed, content), lower, upper); err != nil {
		return err
	}
	if err := compressed.Close(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "sha256:%x sha256:%x\n", layer.Sum(nil), content.Sum(nil))
	return nil
}

func compressedApply(ctx context.Context, root string) error {
	layer, content := sha256.New(), sha256.New()
	source, err := compression.DecompressStream(io.TeeReader(os.Stdin, layer))
	if err != nil {
		return err
	}
	defer source.Close()
	plain := io.TeeReader(source, content)
	size, err := archive.Apply(ctx, root, plain)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return err
	}
	fmt.Printf("%d sha256:%x sha256:%x\n", size, layer.Sum(nil), content.Sum(nil))
	return nil
}

func changes(ctx context.Context, upper, lower string) error {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	letters := map[fs.ChangeKind]string{fs.ChangeKindAdd: "A", fs.ChangeKindModify: "C", fs.ChangeKindDelete: "D"}
	err := fs.Changes(ctx, lower, upper, func(kind fs.ChangeKind, path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if letter, ok := letters[kind]; ok {
			out.WriteString(letter)
			out.WriteByte(' ')
			out.WriteString(path)
			out.WriteByte('\n')
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

func report(usage fs.Usage, err error) error {
	if err == nil {
		fmt.Println(usage.Inodes, usage.Size)
	}
	return err
}

func applied(size int64, err error) error {
	if err == nil {
		fmt.Println(size)
	}
	return err
}
