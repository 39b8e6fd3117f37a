// The names of libzstd, ISA-L, zlib and libarchive for a build without them, whose traits are off.
//
// None of these functions is ever called: `LayerFormat.require` refuses a format before anything of it is made. They are here so
// that the code over them is the same with and without a library.
#ifndef LDIFF_ABSENT_H
#define LDIFF_ABSENT_H

#include <stdint.h>
#include <stddef.h>

#define ABSENT { __builtin_trap(); }

// libzstd

typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct ZSTD_DCtx_s ZSTD_DCtx;
typedef struct { const void *src; size_t size; size_t pos; } ZSTD_inBuffer;
typedef struct { void *dst; size_t size; size_t pos; } ZSTD_outBuffer;
typedef enum { ZSTD_e_continue, ZSTD_e_end } ZSTD_EndDirective;
typedef enum { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag, ZSTD_c_nbWorkers, ZSTD_c_jobSize } ZSTD_cParameter;
typedef enum { ZSTD_d_windowLogMax } ZSTD_dParameter;
typedef enum { ZSTD_error_frameParameter_windowTooLarge } ZSTD_ErrorCode;

static inline ZSTD_CCtx *ZSTD_createCCtx(void) ABSENT
static inline size_t ZSTD_freeCCtx(ZSTD_CCtx *context) ABSENT
static inline size_t ZSTD_CCtx_setParameter(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value) ABSENT
static inline size_t ZSTD_CCtx_setPledgedSrcSize(ZSTD_CCtx *context, unsigned long long size) ABSENT
static inline size_t ZSTD_compress2(ZSTD_CCtx *context, void *to, size_t room, const void *from, size_t size) ABSENT
static inline size_t ZSTD_compressStream2(
    ZSTD_CCtx *context, ZSTD_outBuffer *to, ZSTD_inBuffer *from, ZSTD_EndDirective directive) ABSENT
static inline size_t ZSTD_compress(void *to, size_t room, const void *from, size_t size, int level) ABSENT
static inline size_t ZSTD_compressBound(size_t size) ABSENT
static inline size_t ZSTD_CStreamOutSize(void) ABSENT
static inline ZSTD_DCtx *ZSTD_createDCtx(void) ABSENT
static inline size_t ZSTD_freeDCtx(ZSTD_DCtx *context) ABSENT
static inline size_t ZSTD_DCtx_setParameter(ZSTD_DCtx *context, ZSTD_dParameter parameter, int value) ABSENT
static inline size_t ZSTD_decompressStream(ZSTD_DCtx *context, ZSTD_outBuffer *to, ZSTD_inBuffer *from) ABSENT
static inline size_t ZSTD_decompress(void *to, size_t room, const void *from, size_t size) ABSENT
static inline size_t ZSTD_decompressDCtx(ZSTD_DCtx *context, void *to, size_t room, const void *from, size_t size) ABSENT
static inline unsigned ZSTD_isError(size_t result) ABSENT
static inline ZSTD_ErrorCode ZSTD_getErrorCode(size_t result) ABSENT
static inline const char *ZSTD_getErrorName(size_t result) ABSENT

// ISA-L

#define ISAL_DECOMP_OK 0
#define ISAL_END_INPUT 1
#define ISAL_OUT_OVERFLOW 2
#define ISAL_INCORRECT_CHECKSUM -4
enum isal_block_state { ISAL_BLOCK_FINISH };
enum isal_zstate_state { ZSTATE_NEW_HDR };
#define ISAL_GZIP_NO_HDR_VER 4
#define ISAL_DEF_HIST_SIZE 32768
#define SYNC_FLUSH 1

struct inflate_state {
    uint8_t *next_out;
    uint32_t avail_out;
    uint8_t *next_in;
    uint32_t avail_in;
    uint32_t crc_flag;
    enum isal_block_state block_state;
};
struct isal_zstate { enum isal_zstate_state state; };
struct isal_zstream {
    uint8_t *next_in;
    uint32_t avail_in;
    uint8_t *next_out;
    uint32_t avail_out;
    uint32_t level;
    uint32_t level_buf_size;
    uint8_t *level_buf;
    uint16_t flush;
    struct isal_zstate internal_state;
};

static inline void isal_inflate_init(struct inflate_state *state) ABSENT
static inline void isal_inflate_reset(struct inflate_state *state) ABSENT
static inline int isal_inflate(struct inflate_state *state) ABSENT
static inline void isal_deflate_init(struct isal_zstream *stream) ABSENT
static inline void isal_deflate_reset(struct isal_zstream *stream) ABSENT
static inline int isal_deflate_set_dict(struct isal_zstream *stream, uint8_t *bytes, uint32_t size) ABSENT
static inline int isal_deflate(struct isal_zstream *stream) ABSENT
static inline uint32_t crc32_gzip_refl(uint32_t seed, const unsigned char *bytes, uint64_t size) ABSENT
static inline uint64_t crc64_iso_refl(uint64_t seed, const unsigned char *bytes, uint64_t size) ABSENT

// zlib

#define Z_OK 0
#define Z_DEFLATED 8
#define Z_DEFAULT_STRATEGY 0
#define Z_SYNC_FLUSH 2
#define ZLIB_VERSION ""
typedef struct {
    uint8_t *next_in;
    uint32_t avail_in;
    uint8_t *next_out;
    uint32_t avail_out;
} z_stream;

static inline int deflateInit2_(
    z_stream *stream, int level, int method, int window, int memory, int strategy, const char *version, int size) ABSENT
static inline int deflateEnd(z_stream *stream) ABSENT
static inline int deflateReset(z_stream *stream) ABSENT
static inline int deflateSetDictionary(z_stream *stream, const uint8_t *bytes, uint32_t size) ABSENT
static inline int deflate(z_stream *stream, int flush) ABSENT

// libarchive

struct archive;
struct archive_entry;
typedef ptrdiff_t archive_read_callback_t(struct archive *, void *context, const void **bytes);
#define ARCHIVE_OK 0
#define ARCHIVE_EOF 1
#define ARCHIVE_FILTER_BZIP2 2
#define ARCHIVE_FILTER_XZ 6
#define ARCHIVE_FILTER_LZ4 13

static inline struct archive *archive_read_new(void) ABSENT
static inline int archive_read_free(struct archive *archive) ABSENT
static inline int archive_read_append_filter(struct archive *archive, int filter) ABSENT
static inline int archive_read_support_format_raw(struct archive *archive) ABSENT
static inline int archive_read_support_format_empty(struct archive *archive) ABSENT
static inline int archive_read_open(
    struct archive *archive, void *context, void *open, archive_read_callback_t *read, void *close) ABSENT
static inline int archive_read_next_header(struct archive *archive, struct archive_entry **entry) ABSENT
static inline ptrdiff_t archive_read_data(struct archive *archive, void *to, size_t room) ABSENT
static inline int archive_errno(struct archive *archive) ABSENT
static inline int64_t archive_filter_bytes(struct archive *archive, int filter) ABSENT
static inline const char *archive_error_string(struct archive *archive) ABSENT

#undef ABSENT

#endif
