// ldiff-deep: the nets that look for wrong layers (Tests/DeepNets), as a program of their own: `make test-deep`, and the tests in
// Tests/DeepTests, which run it with little to do.
import DeepNets
import Glibc

exit(DeepCommand.run(Array(CommandLine.arguments.dropFirst())))
