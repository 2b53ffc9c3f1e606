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
