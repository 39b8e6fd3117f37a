# make setup    installs the Debian packages that are missing (root or sudo): those of setup-build, setup-run and setup-test, which
#               take what building, the demonstration and the measurements, and the tests need. The tests need Debian's Docker
#               and containerd: nothing else installs a daemon, and none of them ever removes a package
# make build    the release program, .build/release/ldiff, with the Swift runtime inside
# make run      exports a root file system as a layer, unpacks it, compares, and times it against GNU tar
# make test     every test but those of test-e2e and test-zfs; xfs's quotas only as far as this machine's kernel has them
# make test-zfs  containerd's suite for snapshotters, and the driver zfs killed and failed at counted calls, on zfs-fuse
# make test-faults  every call of every operation of the drivers and of both daemons killed and failed (root)
# make test-kernel  the driver zfs on OpenZFS's module, and xfs's quotas, on Debian's kernel in a virtual machine
# make fuzz SECONDS=60  feeds whatever reads what strangers wrote with libFuzzer, each part for so long
# make test-threads  many threads in one store under the thread sanitizer
# make test-deep MINUTES=60  the nets for wrong layers, for as long as one says, each tree from a new seed; a failure prints the one
#               command that repeats it: make test-deep NETS=ways SEED=4711 (root)
# make bench    measures every job against the peers, writes bench.html and bench.json
# make budget   a short measurement that fails when calls, memory or allocations exceed perf/budgets.json
# make targets  measures P1 to P12 with ldiff bench, kept in perf/runs (root)
# make test-e2e  Debian's dockerd and containerd on the daemons, from the first image to the shutdown (root)
# make soak MINUTES=30  parallel pulls, runs, commits, removals and prunes, with a daemon killed every 45 seconds: dockerd, then
#               containerd, each for so long (root)
# make daemons  the release programs for Docker and containerd
# make install  all programs and their systemd units, and libldiff, into PREFIX (default /usr/local)
# make uninstall  takes them away again
# make deb      Debian packages, ldiff, ldiff-daemons, libldiff1 and libldiff-dev, into .build/deb
# make test-deb  these packages under lintian, then installed, used and purged in fresh roots of Debian 12 and 13 (root)
# make image    containerd-ldiff-grpc and ldiff as an image for Kubernetes, packed by ldiff, into .build/image/ldiff.tar; the
#               manifests are in Sources/packaging/kubernetes
# make libldiff the library for C, with its header's functions and nothing else, into .build/libldiff
# make test-library  that library from C and from Python, and the Swift library from a package of its own, tutorials and all (root)
# make docs     the documentation of the library as a site, into .build/docs
# make format, make lint, make clean

export SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
DEMO_RUNS ?= 5
SECONDS ?= 60
PROGRAM := .build/release/ldiff

# python3 writes the manual pages.
BUILD_PACKAGES := pkgconf chrpath python3 liburing-dev libarchive-dev libzstd-dev libisal-dev zlib1g-dev libattr1-dev libsqlite3-dev
# What the demonstration and the measurements run beside ldiff.
RUN_PACKAGES := python3-pip tar libarchive-tools e2fsprogs mount time coreutils rsync pigz isal zstd xz-utils debootstrap
# What the tests run: programs that make or read layers and file systems of every kind.
TEST_PACKAGES := attr acl strace libcap2-bin fuse-overlayfs fuse3 zfs-fuse bzip2 lz4 \
    xfsprogs btrfs-progs procps patch systemd curl docker.io containerd docker-registry busybox-static containers-storage python3-yaml
DEB_PACKAGES := dpkg-dev cpio
IMAGE_PACKAGES := busybox-static

# A target that imports what it does not name as a dependency builds by luck, where the other was built before.
# The same traits in every build of ours: others would compile everything anew.
BUILD := $(SWIFT) build --traits Daemons --explicit-target-dependency-import-check error

# The Swift runtime inside, and no table of symbols for others: what nobody in a program needs is left out.
PROGRAMS := --static-swift-stdlib -Xlinker --version-script=$(CURDIR)/Sources/packaging/program.map

# The tests and the programs they start, one after the other: --build-tests would compile every product of the packages too,
# among them a thousand files of protobuf's own compiler.
BUILD_TESTS := set -e; for product in ldiffPackageTests ldiff driver-fault ldiff-deep docker-ldiff-graphdriver containerd-ldiff-grpc; do \
    $(BUILD) --product $$product; done

# Where inputs are kept that are made once.
export LDIFF_CACHE ?= $(CURDIR)/perf/cache

.DEFAULT_GOAL := build
.PHONY: setup setup-build setup-run setup-test setup-deb swift build daemons libldiff docs test-library peers run test test-e2e soak test-faults test-zfs test-kernel test-threads test-deep fuzz bench budget targets install uninstall deb test-deb image format lint clean

setup: swift
	@scripts/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)

setup-build: swift
	@scripts/install-packages $(BUILD_PACKAGES)

setup-run: swift
	@scripts/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

setup-test: setup

setup-deb: swift
	@scripts/install-packages $(BUILD_PACKAGES) $(DEB_PACKAGES)

swift:
	@command -v $(SWIFT) >/dev/null || { \
	    echo "Swift 6.3 or newer is needed and '$(SWIFT)' is not there: https://www.swift.org/install/linux/" >&2; exit 69; }

build: setup-build
	$(BUILD) -c release --product ldiff $(PROGRAMS)
	@echo "built $(PROGRAM)"

daemons: build
	$(BUILD) -c release --product docker-ldiff-graphdriver $(PROGRAMS)
	$(BUILD) -c release --product containerd-ldiff-grpc $(PROGRAMS)

libldiff: setup-build
	Sources/packaging/build-library .build/libldiff

test-library: setup
	Tests/Library/run
	Tests/UserPackage/run

docs: setup
	scripts/build-docs .build/docs

peers: setup-run
	@perf/peers/build

run: build setup-run
	DEMO_RUNS=$(DEMO_RUNS) perf/demo

test: setup peers
	@$(BUILD_TESTS)
	scripts/test-streams

# One dockerd or containerd after the other.
test-e2e: setup
	@$(BUILD_TESTS)
	scripts/swift-test --skip-build --no-parallel --filter EndToEndTests --skip SoakTests

# Docker and containerd on the daemons, with all that clients do at once and a kill every 45 seconds.
soak: setup
	@$(BUILD_TESTS)
	LDIFF_SOAK_MINUTES=$(if $(MINUTES),$(MINUTES),30) scripts/swift-test --skip-build --no-parallel --filter EndToEndTests.SoakTests

# Each call of each operation of the drivers and the daemons, which takes long. The default suite tries a few of each.
test-faults: setup
	@$(BUILD_TESTS)
	LDIFF_EVERY_CALL=1 scripts/swift-test --skip-build --no-parallel --filter 'DriverConformanceTests/.*(killed at any|any call fails|all calls fail)'
	LDIFF_EVERY_CALL=1 scripts/swift-test --skip-build --no-parallel --filter 'SnapshotFaultTests|PluginFaultTests'

# What zfs-fuse bears alone only: the snapshotter's suite of containerd, and processes killed at work.
test-zfs: setup
	@$(BUILD_TESTS)
	scripts/swift-test --skip-build --no-parallel --filter ZFSSnapshotterSuiteTests
	LDIFF_DRIVERS=zfs scripts/swift-test --skip-build --no-parallel --filter 'DriverConformanceTests/.*(killed at any|make one layer|all calls fail)'

# Built before, because the virtual machine's processor is emulated.
test-kernel: setup
	@$(BUILD_TESTS)
	LDIFF_KERNEL_TIMEOUT=1800 Tests/Kernel/run Tests/Kernel/tests

# Threads in one store of each driver, with every access to memory watched; a build of its own, some ten times slower.
test-threads: setup
	$(BUILD) --product ldiffPackageTests --sanitize=thread --scratch-path .build/tsan
	LDIFF_CASES='from many threads' TSAN_OPTIONS=exitcode=66 \
	    scripts/swift-test --skip-build --sanitize=thread --scratch-path .build/tsan --no-parallel \
	    --filter 'DriverConformanceTests/.*(many threads|edges)'

# A release program under release nets, so that an hour meets as many trees as it can.
test-deep: setup
	$(BUILD) -c release --product ldiff
	$(BUILD) -c release --product ldiff-deep
	.build/release/ldiff-deep $(if $(NETS),--nets $(NETS)) $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE)) \
	    $(if $(MINUTES),--minutes $(MINUTES))

# A package of its own with a build of its own; ten parts, two at a time.
fuzz: setup
	Fuzz/run $(SECONDS)

bench: build peers
	$(PROGRAM) bench --report bench.html --json bench.json

budget: build setup-run
	$(BUILD) -c release --product MallocCounter
	$(PROGRAM) bench --quick --runs 1 --against tar,bsdtar,du --budget perf/budgets.json \
	    --allocation-counter .build/release/libMallocCounter.so

targets: build peers
	perf/record

install: daemons libldiff
	Sources/packaging/install-files .build/release "$(DESTDIR)" "$(PREFIX)"
	Sources/packaging/install-library .build/libldiff "$(DESTDIR)" "$(PREFIX)"

uninstall:
	Sources/packaging/remove-files "$(DESTDIR)" "$(PREFIX)"

deb: setup-deb daemons libldiff
	Sources/packaging/make-deb .build/deb

test-deb: deb
	@scripts/install-packages lintian debootstrap man-db
	Tests/Packages/run .build/deb

image: daemons
	@scripts/install-packages $(IMAGE_PACKAGES)
	mkdir -p .build/image
	Sources/packaging/make-image .build/image/ldiff.tar

format: swift
	$(SWIFT) format --in-place -r Sources Tests Fuzz/Sources Fuzz/Package.swift Package.swift

lint: swift
	$(SWIFT) format lint --strict -r Sources Tests Fuzz/Sources Fuzz/Package.swift Package.swift

clean:
	rm -rf .build perf/peers/bin
