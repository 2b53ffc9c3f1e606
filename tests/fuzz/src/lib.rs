//! Every parser of outside bytes, fed with what it does not expect.
//!
//! A target (`targets/`) takes bytes, gives them to one parser and checks what must hold whatever they are: the same
//! result however the bytes are cut, agreement with another implementation, a normal form that is its own normal form.
//! Not panicking is the least of it. The driver (`main.rs`) makes the bytes (`mutate.rs`) from the seeds in
//! `seeds/TARGET/`, among them every input that once failed.
//!
//! There is no coverage feedback on a stable toolchain; instead a target says what it came to ([`reached`]), and
//! inputs that came to something new are mutated further.

// Panicking is how a target says that what must hold does not.
#![allow(clippy::missing_panics_doc)]

pub mod mutate;
pub mod targets;

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

thread_local! {
    static REACHED: RefCell<HashSet<u64>> = RefCell::default();
}

/// Notes an outcome worth telling from others: a refusal by its name, the number of messages read. Keep them few.
pub fn reached(outcome: impl Hash) {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    REACHED.with_borrow_mut(|all| all.insert(hasher.finish()));
}

/// Outcomes that this thread has come to so far.
pub fn outcomes() -> usize {
    REACHED.with_borrow(HashSet::len)
}

/// Forgets them.
pub fn forget_outcomes() {
    REACHED.with_borrow_mut(HashSet::clear);
}
