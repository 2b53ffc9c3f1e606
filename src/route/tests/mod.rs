//! What the room promises, on tables and on generated requests.
