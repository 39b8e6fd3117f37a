/* A target of C needs a source; the functions that ldiff.h declares are written in Swift, in LDiffC. */
