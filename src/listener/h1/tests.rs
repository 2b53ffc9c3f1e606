//! Claims about the whole connection.
