//! HTTP caching rules (placeholder until the room is merged).
#![allow(missing_docs)]
pub trait Fields {
    fn values<'s>(&'s self, name: &'s http::HeaderName) -> impl Iterator<Item = &'s [u8]>;
}
#[derive(Clone, Debug, Default)]
pub struct Policy;
#[derive(Clone, Copy, Debug)]
pub struct Freshness;
#[derive(Clone, Debug)]
pub struct VarySpec;
impl VarySpec {
    pub fn held_bytes(&self) -> usize {
        0
    }
}
#[derive(Clone, Debug)]
pub struct ContentRange;
