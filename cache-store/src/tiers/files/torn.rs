//! A disk for tests, in memory: it loses what was not synced, fails at chosen calls, and counts.
//!
//! ```text
//! write ──> seen by reads ──sync──> durable        create, rename, remove ──> seen ──sync_directory──> durable
//!                └── power loss: each unsynced sector, and each unsynced name, is there or not, as a seed says
//! ```
//!
//! A file's length after a power loss lies anywhere between the durable one and the seen one; what was never durable reads as
//! zeros. That is harsher than file systems are, which order names in a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{File, Files, Listed, Lock};

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct Torn {
    disk: Arc<Mutex<Disk>>,
}

/// Which calls fail.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// Of each thousand calls, so many fail, at random.
    pub per_mille: u64,
    /// The call of this number from now on fails (1 is the next).
    pub at_call: Option<u64>,
    /// Behind so many calls from now on all fail: nothing reaches the disk any more, as of a process that has ended.
    pub ends_after: Option<u64>,
    /// Writes beyond so many bytes on the disk fail with `StorageFull`.
    pub capacity_bytes: Option<u64>,
    /// Reads that must not wait always would.
    pub cold: bool,
    /// Reads that touch this byte of a file fail, as on a disk with a bad sector.
    pub unreadable: Option<u64>,
    /// Creating files and looking up names fails with `NotFound`, as in a directory that was removed.
    pub vanished: bool,
}

#[derive(Default)]
struct Disk {
    seen: BTreeMap<String, Arc<Mutex<Inode>>>,
    durable: BTreeMap<String, Arc<Mutex<Inode>>>,
    unsynced: Vec<Change>,
    locked: BTreeSet<String>,
    faults: Faults,
    random: u64,
    calls: u64,
    failed: u64,
    written: u64,
}

enum Change {
    Give(String, Arc<Mutex<Inode>>),
    Take(String),
    Rename(String, String),
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

struct Handle {
    disk: Arc<Mutex<Disk>>,
    inode: Arc<Mutex<Inode>>,
}

impl Torn {
    /// An empty disk whose faults fall as `seed` says.
    pub fn new(seed: u64) -> Self {
        let torn = Self::default();
        torn.disk.lock().random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        torn
    }

    /// From now on calls fail like this.
    pub fn faults(&self, faults: Faults) {
        let mut disk = self.disk.lock();
        disk.faults = faults;
        if let Some(at) = faults.at_call {
            disk.faults.at_call = Some(disk.calls + at);
        }
        if let Some(after) = faults.ends_after {
            disk.faults.ends_after = Some(disk.calls + after);
        }
    }

    /// The power fails and comes back: locks are free, what was open before belongs to a disk that is no more.
    pub fn power_loss(&mut self) {
        let mut disk = self.disk.lock();
        let mut random = disk.random;
        let mut names = disk.durable.clone();
        for change in disk.unsynced.drain(..) {
            if next(&mut random) & 1 == 0 {
                apply(&mut names, change);
            }
        }
        let mut kept: Vec<(*const Mutex<Inode>, Arc<Mutex<Inode>>)> = Vec::new();
        for inode in names.values_mut() {
            let was = Arc::as_ptr(inode);
            let known = kept.iter().find(|(known, _)| *known == was).map(|(_, now)| Arc::clone(now));
            let now = known.unwrap_or_else(|| Arc::new(Mutex::new(inode.lock().after_loss(&mut random))));
            kept.push((was, Arc::clone(&now)));
            *inode = now;
        }
        let next = Disk {
            seen: names.clone(),
            durable: names,
            faults: disk.faults,
            random,
            calls: disk.calls,
            failed: disk.failed,
            written: disk.written,
            ..Disk::default()
        };
        drop(disk);
        self.disk = Arc::new(Mutex::new(next));
    }

    /// The process dies and the machine lives: locks are free, what was written stays; what the process still does, it does to a disk
    /// that is no more.
    pub fn kill(&mut self) {
        let disk = self.disk.lock();
        let mut copies: Vec<(*const Mutex<Inode>, Arc<Mutex<Inode>>)> = Vec::new();
        let mut copy = |inode: &Arc<Mutex<Inode>>| {
            let was = Arc::as_ptr(inode);
            if let Some((_, copy)) = copies.iter().find(|(known, _)| *known == was) {
                return Arc::clone(copy);
            }
            let copied = Arc::new(Mutex::new(inode.lock().clone()));
            copies.push((was, Arc::clone(&copied)));
            copied
        };
        let mut names = |of: &BTreeMap<String, Arc<Mutex<Inode>>>| {
            of.iter().map(|(name, inode)| (name.clone(), copy(inode))).collect::<BTreeMap<_, _>>()
        };
        let (seen, durable) = (names(&disk.seen), names(&disk.durable));
        let unsynced = disk.unsynced.iter().map(|change| match change {
            Change::Give(name, inode) => Change::Give(name.clone(), copy(inode)),
            Change::Take(name) => Change::Take(name.clone()),
            Change::Rename(from, to) => Change::Rename(from.clone(), to.clone()),
        });
        let next = Disk {
            seen,
            durable,
            unsynced: unsynced.collect(),
            locked: BTreeSet::new(),
            faults: disk.faults,
            random: disk.random,
            calls: disk.calls,
            failed: disk.failed,
            written: disk.written,
        };
        drop(disk);
        self.disk = Arc::new(Mutex::new(next));
    }

    /// Flips one bit of a file, durably: `at` counts bits, modulo its length.
    pub fn flip(&self, name: &str, at: u64) {
        let Some(inode) = self.disk.lock().seen.get(name).map(Arc::clone) else { return };
        let Inode { seen, durable, .. } = &mut *inode.lock();
        let Some(bit) = at.checked_rem(seen.len() as u64 * 8) else { return };
        for bytes in [seen, durable] {
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// All bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.disk.lock().written
    }

    /// Calls so far, and how many of them failed on purpose.
    pub fn calls(&self) -> (u64, u64) {
        let disk = self.disk.lock();
        (disk.calls, disk.failed)
    }

    /// Bytes that the files with names take now.
    pub fn stored_bytes(&self) -> u64 {
        self.disk.lock().stored()
    }
}

impl Disk {
    fn call(&mut self, names: bool) -> io::Result<()> {
        self.calls += 1;
        if names && self.faults.vanished {
            self.failed += 1;
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.faults.at_call == Some(self.calls)
            || self.faults.ends_after.is_some_and(|last| self.calls > last)
            || (self.faults.per_mille > 0 && next(&mut self.random) % 1000 < self.faults.per_mille)
        {
            self.failed += 1;
            return Err(io::Error::other("a fault on purpose"));
        }
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.seen.values().map(|inode| inode.lock().seen.len() as u64).sum()
    }
}

impl Inode {
    /// What is left of the file after a power loss.
    fn after_loss(&self, random: &mut u64) -> Self {
        let (short, long) =
            (self.durable.len().min(self.seen.len()), self.durable.len().max(self.seen.len()));
        let length = if short == long { long } else { short + below(random, long - short + 1) };
        let mut bytes = self.durable.clone();
        bytes.resize(length, 0);
        // A third of the losses keep nearly everything and a third nearly nothing, so that both ends are met.
        let keep = [1, 8, 15].get(below(random, 3)).copied().unwrap_or(8);
        for sector in &self.dirty {
            if below(random, 16) >= keep {
                continue;
            }
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(length).min(self.seen.len());
            if let (Some(into), Some(new)) = (bytes.get_mut(from..to), self.seen.get(from..to)) {
                into.copy_from_slice(new);
            }
        }
        Self { seen: bytes.clone(), durable: bytes, dirty: BTreeSet::new() }
    }
}

impl Files for Torn {
    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        let inode = Arc::new(Mutex::new(Inode::default()));
        disk.seen.insert(name.to_owned(), Arc::clone(&inode));
        disk.unsynced.push(Change::Give(name.to_owned(), Arc::clone(&inode)));
        Ok(Box::new(Handle { disk: Arc::clone(&self.disk), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        let inode = disk.seen.get(name).map(Arc::clone).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { disk: Arc::clone(&self.disk), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        let inode = disk.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.seen.insert(to.to_owned(), inode);
        disk.unsynced.push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        disk.seen.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.unsynced.push(Change::Take(name.to_owned()));
        Ok(())
    }

    fn list(&self, under: &str) -> io::Result<Vec<Listed>> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        let within = |name: &str| {
            let rest = if under.is_empty() { name } else { name.strip_prefix(under)?.strip_prefix('/')? };
            (!rest.contains('/')).then(|| rest.to_owned())
        };
        Ok(disk
            .seen
            .iter()
            .filter_map(|(name, inode)| {
                Some(Listed { name: within(name)?, bytes: inode.lock().seen.len() as u64 })
            })
            .collect())
    }

    fn create_directory(&self, _name: &str) -> io::Result<()> {
        self.disk.lock().call(false)
    }

    fn sync_directory(&self, _name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        disk.unsynced.clear();
        disk.durable = disk.seen.clone();
        Ok(())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.call(true)?;
        disk.seen.get(name).map(|inode| inode.lock().seen.len() as u64).ok_or(io::ErrorKind::NotFound.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.call(false)?;
        Ok(disk.faults.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.stored())))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        struct Held(Arc<Mutex<Disk>>, String);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.lock().locked.remove(&self.1);
            }
        }
        let mut disk = self.disk.lock();
        disk.call(true)?;
        if !disk.locked.insert(name.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Lock::new(Held(Arc::clone(&self.disk), name.to_owned())))
    }
}

impl File for Handle {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call(false)?;
        if disk.faults.unreadable.is_some_and(|bad| (offset..offset + into.len() as u64).contains(&bad)) {
            disk.failed += 1;
            return Err(io::Error::other("a bad sector on purpose"));
        }
        drop(disk);
        let inode = self.inode.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = inode.seen.get(from..from.saturating_add(into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn try_read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        if self.disk.lock().faults.cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let mut verdict = disk.call(false);
        let mut length = bytes.len();
        if verdict.is_err() {
            // A failed write leaves any part of it behind.
            length = below(&mut disk.random, length + 1);
        } else if let Some(capacity) = disk.faults.capacity_bytes {
            let room = usize::try_from(capacity.saturating_sub(disk.stored())).unwrap_or(usize::MAX);
            let grows = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(length);
            let grows = grows.saturating_sub(self.inode.lock().seen.len());
            if grows > room {
                disk.failed += 1;
                length = length.saturating_sub(grows - room);
                verdict = Err(io::ErrorKind::StorageFull.into());
            }
        }
        disk.written += length as u64;
        let mut inode = self.inode.lock();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from + length;
        if inode.seen.len() < to {
            inode.seen.resize(to, 0);
        }
        if let (Some(into), Some(new)) = (inode.seen.get_mut(from..to), bytes.get(..length)) {
            into.copy_from_slice(new);
        }
        inode.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
        verdict
    }

    fn sync(&self) -> io::Result<()> {
        let verdict = self.disk.lock().call(false);
        let mut random = self.disk.lock().random;
        let mut inode = self.inode.lock();
        if verdict.is_err() {
            // The kernel's way: what could not be written counts as clean, so that no later sync tries again.
            let after = inode.after_loss(&mut random);
            inode.durable = after.durable;
            inode.dirty.clear();
            return verdict;
        }
        let Inode { seen, durable, dirty } = &mut *inode;
        durable.resize(seen.len(), 0);
        for sector in std::mem::take(dirty) {
            let from = sector * SECTOR_BYTES;
            let to = (from + SECTOR_BYTES).min(seen.len());
            if let (Some(into), Some(new)) = (durable.get_mut(from..to), seen.get(from..to)) {
                into.copy_from_slice(new);
            }
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.lock().call(false)?;
        Ok(self.inode.lock().seen.len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.disk.lock().call(false)?;
        let mut inode = self.inode.lock();
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let (from, to) = (inode.seen.len().min(bytes), inode.seen.len().max(bytes));
        inode.seen.resize(bytes, 0);
        inode.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, Arc<Mutex<Inode>>>, change: Change) {
    match change {
        Change::Give(name, inode) => {
            names.insert(name, inode);
        }
        Change::Take(name) => {
            names.remove(&name);
        }
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
    }
}

/// xorshift64*: enough for a disk that fails at random.
fn next(state: &mut u64) -> u64 {
    *state |= u64::from(*state == 0);
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
}

fn below(state: &mut u64, bound: usize) -> usize {
    usize::try_from(next(state)).unwrap_or_default().checked_rem(bound).unwrap_or_default()
}

const SECTOR_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut lost = 0;
        for seed in 0..64 {
            let mut disk = Torn::new(seed);
            let file = disk.create("a").expect("created");
            file.write_at(&[1; 2048], 0).expect("written");
            file.sync().expect("synced");
            disk.sync_directory("").expect("synced");
            file.write_at(&[2; 2048], 1024).expect("written");
            disk.create("b").expect("created");
            disk.power_loss();
            let file = disk.open("a").expect("durable");
            let mut bytes = [0; 1024];
            file.read_at(&mut bytes, 0).expect("durable");
            assert_eq!(bytes, [1; 1024]);
            lost += u32::from(disk.open("b").is_err());
        }
        assert!((16..48).contains(&lost), "{lost} of 64 unsynced names were lost");
    }

    #[test]
    fn a_full_disk_and_a_failing_call_are_told() {
        let disk = Torn::new(1);
        let file = disk.create("a").expect("created");
        disk.faults(Faults { capacity_bytes: Some(1000), ..Faults::default() });
        let full = file.write_at(&[0; 1001], 0).expect_err("no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.stored_bytes(), 1000);
        disk.faults(Faults { at_call: Some(2), ..Faults::default() });
        file.sync().expect("the first");
        file.sync().expect_err("the second");
        file.sync().expect("the third");
    }
}
