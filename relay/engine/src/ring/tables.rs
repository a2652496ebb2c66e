//! The rings of a worker and the sockets in their tables.

use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use io_uring::types::Fixed;
use io_uring::{IoUring, cqueue, squeue};

use crate::config::RingSizes;

/// Where a socket is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which ring's table.
    pub(super) ring: usize,
    /// The place in it.
    pub(super) fixed: Fixed,
}

impl Place {
    /// Whether it is in the table of a further ring.
    pub(super) fn is_elsewhere(self) -> bool {
        self.ring != Tables::MAIN
    }
}

/// The main ring and, as they are needed, further ones.
pub(super) struct Tables {
    rings: Vec<IoUring>,
    sizes: RingSizes,
    /// Places in one table.
    places: u32,
    rings_max: usize,
}

impl Tables {
    /// The main ring's number.
    pub(super) const MAIN: usize = 0;

    pub(super) fn new(sizes: RingSizes, sockets: u32) -> Result<Tables, (&'static str, io::Error)> {
        let places = sizes.table.min(sockets).max(1);
        let rings_max = sockets.div_ceil(places) as usize;
        let mut tables = Tables { rings: Vec::with_capacity(rings_max), sizes, places, rings_max };
        tables.add()?;
        Ok(tables)
    }

    fn add(&mut self) -> Result<(), (&'static str, io::Error)> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            // Without it one failed send would leave those after it unsubmitted.
            .setup_submit_all()
            .setup_cqsize(self.sizes.completions)
            .setup_clamp()
            .build(self.sizes.submissions)
            .map_err(|error| ("io_uring_setup", error))?;
        ring.submitter()
            .register_files_sparse(self.places)
            .map_err(|error| ("io_uring register the table of sockets", error))?;
        self.rings.push(ring);
        Ok(())
    }

    pub(super) fn main(&self) -> &IoUring {
        &self.rings[Tables::MAIN]
    }

    pub(super) fn main_mut(&mut self) -> &mut IoUring {
        &mut self.rings[Tables::MAIN]
    }

    /// The further rings' numbers.
    pub(super) fn elsewhere(&self) -> Range<usize> {
        1..self.rings.len()
    }

    pub(super) fn place(&self, index: u32) -> Place {
        Place { ring: (index / self.places) as usize, fixed: Fixed(index % self.places) }
    }

    /// Makes the ring whose table has this place, if it is the first in it.
    pub(super) fn make_for(&mut self, place: Place) -> io::Result<()> {
        if place.ring >= self.rings_max {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such place"));
        }
        while self.rings.len() <= place.ring {
            self.add().map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    /// Puts sockets into the places of a table from this one on; how many, if not all.
    pub(super) fn install(&self, from: Place, sockets: &[RawFd]) -> io::Result<usize> {
        self.rings[from.ring].submitter().register_files_update(from.fixed.0, sockets)
    }

    /// Whether there was room for the entry.
    ///
    /// # Safety
    /// As for [`super::Ring::push`].
    pub(super) unsafe fn push(&mut self, ring: usize, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.rings[ring].submission().push(entry) }.is_ok()
    }

    /// Has the kernel take what was pushed.
    pub(super) fn submit(&mut self, ring: usize) -> io::Result<()> {
        let ring = &mut self.rings[ring];
        if ring.submission().is_empty() {
            return Ok(());
        }
        match ring.submit() {
            Err(error) if !passes(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The next completion of a ring.
    pub(super) fn take(&mut self, ring: usize) -> Option<cqueue::Entry> {
        self.rings[ring].completion().next()
    }

    /// Whether the kernel has taken everything.
    pub(super) fn are_submitted(&mut self) -> bool {
        self.rings.iter_mut().all(|ring| ring.submission().is_empty())
    }
}

/// Whether an error of a submission passes by itself. ETIME: nothing came. A signal. Completions
/// are to be reaped first, or memory is short: what was not taken stays in the queue.
pub(super) fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}
