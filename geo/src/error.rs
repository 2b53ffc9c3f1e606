//! What can be wrong with a database.

use std::io;

use maxminddb::MaxMindDbError;

use crate::database::DATABASE_BYTES_MAX;

/// Why a database cannot be used. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file cannot be read.
    #[error("cannot read the geo database")]
    Open(#[source] io::Error),
    /// No database is so large.
    #[error("the geo database has more than {DATABASE_BYTES_MAX} bytes")]
    TooLarge,
    /// The file is not a database in MaxMind DB format, or parts of it are damaged.
    #[error("the geo database is damaged")]
    Damaged(#[source] MaxMindDbError),
    /// Nothing in it has a country at the configured path.
    #[error("no record of the geo database ({kind}) has a country at {path}")]
    NoCountry {
        /// The type that the database says it has.
        kind: String,
        /// Where a country was looked for.
        path: String,
    },
}
