//! Claims about the room as a whole; the tables of single functions stand with the functions.

mod bodies;
mod connections;
mod deadlines;
mod differential;
mod heads;
mod stage;
mod streams;
