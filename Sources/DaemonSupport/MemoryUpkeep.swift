internal import CAllocator
import Glibc
import ServiceLifecycle

/// Keeps what malloc holds near what is in use.
///
/// The GNU C library gives each thread that meets another in malloc an arena of its own, up to eight a processor, and gives back to
/// the system only what is free at an arena's end. In a daemon whose calls run on many threads each arena grows to the most that
/// was ever in use in it: of 163 MiB after eight minutes of eight parallel callers 11 were in use, and it still grew.
///
/// Once a large piece was freed it also takes the next of that size from an arena, where small ones soon lie in the gap that it
/// leaves: with each slab that comes and goes while names are added the arena grows, 112 MiB in a layer of 99,257 entries.
struct MemoryUpkeep: Service {
    /// Before the first thread: as few arenas as the processors can use at once, and slabs in none of them.
    static func prepare() {
        lda_limit_arenas(Int32(clamping: max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
        lda_map_from(256 << 10)
    }

    /// How often what is free is looked at.
    private static let pause = Duration.seconds(30)
    /// Less than this is kept for the next calls.
    private static let kept = 16 << 20

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while (try? await Task.sleep(for: Self.pause)) != nil {
                // Looks at every free piece: some milliseconds for a hundred MiB.
                _ = lda_trim(Self.kept)
            }
        }
    }
}
