//! The arena's pages: memory mapped as a whole, whose places are filled, read, lent and emptied. The one place with
//! `unsafe` in it.
//!
//! The argument, once: who holds a [`Run`] has the only right to its pages, since `Space` gives no page twice and a run
//! cannot be copied. They are written while the run is held mutably, that is before there is a reader. From then on nobody
//! writes them, and [`Pages::release`] takes them out of the mapping before the run goes back. So nobody, neither a reader
//! here nor the kernel, ever sees a page change that it was given.
//!
//! The mapping asks for no huge pages: of those, memory comes back only when all of one is released.

#![allow(unsafe_code)] // each block says why

use std::io;
use std::os::fd::BorrowedFd;

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use super::space::Run;

/// A mapping.
#[derive(Debug)]
pub(super) struct Pages {
    map: MmapRaw,
    page_bytes: usize,
}

impl Pages {
    /// About `bytes`, rounded down to whole pages; they take no memory yet.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        let bytes = bytes / page_bytes * page_bytes;
        let map = MmapRaw::from(MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?);
        #[cfg(target_os = "linux")]
        // Refused only where there are no huge pages anyway.
        let _ = map.advise(memmap2::Advice::NoHugePage);
        let pages = Self { map, page_bytes };
        pages.try_out()?;
        Ok(pages)
    }

    /// Whether a released page is really gone, which not every system promises.
    fn try_out(&self) -> io::Result<()> {
        let mut space = super::Space::new(1);
        let mut run = space.take(1).ok_or(io::ErrorKind::Unsupported)?;
        self.write(&mut run, std::iter::once(&[1][..]))?;
        self.release(&run)?;
        if self.read(&run, 1) == [0] { self.release(&run) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    pub(super) fn count(&self) -> usize {
        self.map.len() / self.page_bytes
    }

    pub(super) const fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Where `slice` lies, if it does lie here.
    #[inline]
    pub(super) fn offset_of(&self, slice: &[u8]) -> Option<usize> {
        let offset = slice.as_ptr().addr().checked_sub(self.map.as_ptr().addr())?;
        (offset.checked_add(slice.len())? <= self.map.len()).then_some(offset)
    }

    /// Fills a run's pages with `pieces`, one after another. Costs what fresh memory of the heap costs.
    ///
    /// # Errors
    /// There is no memory for the pages, or the pieces are longer than the run.
    pub(super) fn write<'p>(&self, run: &mut Run, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<()> {
        let (start, bytes) = self.range(run)?;
        #[cfg(target_os = "linux")]
        // All at once instead of one fault a page: a quarter of the cost. Linux before 5.14 does not know how.
        match self.map.advise_range(memmap2::Advice::PopulateWrite, start, bytes) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        let mut at = 0;
        for piece in pieces {
            if piece.len() > bytes - at {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            // SAFETY: from `start + at` on, `piece.len()` bytes lie within `range`, which lies within the mapping, which is
            // writable. Nobody else reads or writes them, see the module's head; so `piece` does not overlap them either.
            unsafe {
                let to = self.map.as_mut_ptr().add(start + at);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), to, piece.len());
            }
            at += piece.len();
        }
        Ok(())
    }

    /// The first `length` bytes of a run's pages; fewer if the run is shorter.
    pub(super) fn read<'a>(&'a self, run: &'a Run, length: usize) -> &'a [u8] {
        let Ok((start, bytes)) = self.range(run) else { return &[] };
        // SAFETY: they lie within the mapping, which lives as long as `self`, and nobody writes or releases them while
        // `run` is borrowed. They are initialized: mapped memory begins as zeros.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(start), length.min(bytes)) }
    }

    /// Takes a run's pages out of the mapping; its places are zeros from now on. Whoever still refers to the pages keeps
    /// them as they were.
    pub(super) fn release(&self, run: &Run) -> io::Result<()> {
        let (start, bytes) = self.range(run)?;
        // SAFETY: bytes that somebody has a reference to must not be taken away. The caller holds the run and hands
        // out no reference to its bytes any more: `Extent` is being dropped, or there has not been one.
        unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) }
    }

    /// First byte and length of a run within the mapping.
    fn range(&self, run: &Run) -> io::Result<(usize, usize)> {
        let start = run.first().checked_mul(self.page_bytes);
        let bytes = run.pages().checked_mul(self.page_bytes);
        match (start, bytes) {
            (Some(start), Some(bytes))
                if start.checked_add(bytes).is_some_and(|end| end <= self.map.len()) =>
            {
                Ok((start, bytes))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Bytes of memory that the mapping takes now.
    #[cfg(test)]
    pub(super) fn resident_bytes(&self) -> usize {
        let file = std::fs::File::open("/proc/self/pagemap").expect("Linux");
        let mut entries = vec![0; self.count() * 8];
        let offset = (self.map.as_ptr().addr() / self.page_bytes * 8) as u64;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut entries, offset).expect("an entry a page");
        entries.chunks(8).filter(|entry| entry.last().is_some_and(|byte| byte >> 7 == 1)).count()
            * self.page_bytes
    }
}

/// Bytes whose pages are never written again, as long as anybody refers to them: so the kernel may be lent them instead of
/// given a copy.
#[derive(Clone, Copy, Debug)]
pub struct Lendable<'b>(&'b [u8]);

impl<'b> Lendable<'b> {
    /// `bytes` lie in an extent of an arena.
    pub(super) const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts references to the bytes from `from` on into a pipe, as many as it has room for, without waiting for room; how
    /// many that were.
    ///
    /// # Errors
    /// Those of `vmsplice`.
    #[cfg(target_os = "linux")]
    pub fn lend(&self, from: usize, pipe: BorrowedFd<'_>) -> io::Result<usize> {
        use rustix::pipe::{IoSliceRaw, SpliceFlags, vmsplice};
        let bytes = IoSliceRaw::from_slice(self.0.get(from..).unwrap_or_default());
        // SAFETY: the slice is readable. What the pipe, and later a socket, refers to must not change: it does not, see
        // the head of the module, neither while the bytes live nor after.
        Ok(unsafe { vmsplice(pipe, &[bytes], SpliceFlags::NONBLOCK) }?)
    }

    /// Not on this system.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn lend(&self, _from: usize, _pipe: BorrowedFd<'_>) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
