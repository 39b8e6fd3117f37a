// To be replaced by the first real file of this target; imports what it may use, so that it is compiled.
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
