//! Every bound of a purge call, with its unit. Bytes of bodies are bounded by whoever reads them.

/// Selectors in one call, of all kinds together.
pub const ENTRIES_MAX: usize = 10_000;
/// Bytes of one URL.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one host, RFC 1035 §2.3.4.
pub const HOST_BYTES_MAX: usize = 255;
/// Bytes of one tag.
pub const TAG_BYTES_MAX: usize = 256;
/// Mistakes of one body that are told at once.
pub const MISTAKES_MAX: usize = 100;
/// Bytes of one note.
pub const NOTE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Names of notes.
pub const NOTES_MAX: usize = 64;
/// Files of one deploy.
pub const DEPLOY_FILES_MAX: usize = 250_000;
/// Bytes of a file's path.
pub const FILE_PATH_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a file's hash.
pub const FILE_HASH_BYTES_MAX: usize = 128;
/// Paths in each list of a deploy's answer; the counts beside them are whole.
pub const DEPLOY_PATHS_TOLD_MAX: usize = 10_000;
