//! How the path and query of a request are written anew for origins.

use super::template::Template;

/// What is done to path and query, in the order of the fields. Clients, keys and purges keep the URL as it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// Taken off the path, where it is whole segments at its beginning.
    pub strip_prefix: Option<Box<str>>,
    /// Put before the path.
    pub add_prefix: Option<Box<str>>,
    /// The path, in place of the two.
    pub path: Option<Template>,
    /// The query; empty: none.
    pub query: Option<Template>,
}

impl Rewrite {
    /// Whether everything stays as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
