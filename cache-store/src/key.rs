//! What a stored response is found by.
//!
//! A [`CacheKey`] is 128 bits of a keyed BLAKE3 over the request's *identity*: scheme, authority, path and query, each
//! length-prefixed so that no byte can move from one component to the next. The key is secret to the process, so
//! no client can aim at a shard or look for a collision. A variant's key hashes the primary key with the values
//! that the stored `Vary` nominates (RFC 9111 §4.1).
//!
//! The caller passes components that are already normalised; the same bytes are what is forwarded.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Identity of a resource as the cache sees it, or of one variant of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CacheKey(u128);

/// A table by keys. They are keyed hashes already, which nobody can aim: hashing them again would say nothing.
pub type KeyMap<V> = HashMap<CacheKey, V, BuildHasherDefault<KeyHasher>>;

/// Takes a key for its own hash.
#[derive(Clone, Copy, Default, Debug)]
pub struct KeyHasher(u64);

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The upper half: tables are split into shards by bits of the lower one.
        state.write_u64(u64::try_from(self.0 >> 64).unwrap_or_default());
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes keys; one a process, so that keys of one node mean nothing to another.
#[derive(Clone, Debug)]
pub struct Keyer {
    secret: [u8; 32],
}

impl Keyer {
    /// A keyer for this secret.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// The primary key of a resource. About 80 ns for an ordinary URL.
    pub fn primary(&self, scheme: &str, authority: &[u8], path: &[u8], query: Option<&[u8]>) -> CacheKey {
        let absent: &[u8] = &[0xff];
        let parts: [(&[u8], &[u8]); 4] = [
            (&[], scheme.as_bytes()),
            (&[], authority),
            (&[], path),
            query.map_or((absent, &[][..]), |query| (&[][..], query)),
        ];
        let pieces = parts.map(|(mark, part)| {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes();
            (mark, length, part)
        });
        // One buffer for the common case: BLAKE3 is fastest when it sees all at once.
        let mut block = [0u8; BLOCK_BYTES];
        let mut at = 0;
        let mut put = |piece: &[u8]| -> Option<()> {
            block.get_mut(at..at + piece.len())?.copy_from_slice(piece);
            at += piece.len();
            Some(())
        };
        let fits = pieces.iter().all(|(mark, length, part)| {
            put(mark).and_then(|()| put(length)).and_then(|()| put(part)).is_some()
        });
        if fits {
            let whole = block.get(..at).unwrap_or_default();
            return CacheKey::from_hash(&blake3::keyed_hash(&self.secret, whole));
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for (mark, length, part) in pieces {
            hasher.update(mark).update(&length).update(part);
        }
        CacheKey::from_hash(&hasher.finalize())
    }

    /// The key of the variant of `primary` that `values` (length-prefixed or otherwise unambiguous bytes) select.
    pub fn variant(&self, primary: CacheKey, values: &[u8]) -> CacheKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(b"variant");
        hasher.update(&primary.0.to_le_bytes());
        hasher.update(values);
        CacheKey::from_hash(&hasher.finalize())
    }
}

impl CacheKey {
    /// A key with these bits, for tests and for reading one back.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    fn from_hash(hash: &blake3::Hash) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Self(u128::from_le_bytes(bytes))
    }
}

impl std::fmt::Display for CacheKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Identities up to this length are hashed at once.
const BLOCK_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_can_move_from_one_component_to_the_next() {
        let keyer = Keyer::new([7; 32]);
        let claims = [
            ("http", "ab", "/c", Some("d")),
            ("http", "a", "b/c", Some("d")),
            ("http", "ab", "/cd", None),
            ("http", "ab", "/cd", Some("")),
            ("http", "ab", "/c", Some("d\0")),
            ("https", "ab", "/c", Some("d")),
        ];
        let keys: std::collections::HashSet<_> = claims
            .iter()
            .map(|(s, a, p, q)| keyer.primary(s, a.as_bytes(), p.as_bytes(), q.map(str::as_bytes)))
            .collect();
        assert_eq!(keys.len(), claims.len());
    }

    #[test]
    fn a_url_longer_than_the_block_has_a_key_of_its_own() {
        let keyer = Keyer::new([7; 32]);
        let long = vec![b'a'; 5000];
        let longer = vec![b'a'; 5001];
        assert_ne!(keyer.primary("http", b"h", &long, None), keyer.primary("http", b"h", &longer, None));
        assert_eq!(keyer.primary("http", b"h", &long, None), keyer.primary("http", b"h", &long, None));
    }

    #[test]
    fn a_url_has_the_same_key_at_once_and_in_pieces() {
        let keyer = Keyer::new([7; 32]);
        for length in [0, 1, 200, BLOCK_BYTES - 22, BLOCK_BYTES - 21, BLOCK_BYTES - 20, 300] {
            for query in [None, Some(&b""[..]), Some(&b"q=1"[..])] {
                let path = vec![b'a'; length];
                let mut whole = Vec::new();
                for part in [b"http", &b"h"[..], &path] {
                    whole.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
                    whole.extend_from_slice(part);
                }
                whole.extend_from_slice(if query.is_none() { b"\xff" } else { b"" });
                whole.extend_from_slice(&u32::try_from(query.map_or(0, <[u8]>::len)).unwrap().to_le_bytes());
                whole.extend_from_slice(query.unwrap_or_default());
                let hash =
                    CacheKey::from_hash(&blake3::Hasher::new_keyed(&[7; 32]).update(&whole).finalize());
                assert_eq!(keyer.primary("http", b"h", &path, query), hash, "{length} {query:?}");
            }
        }
    }
}
