//! How much of this program has run so far, where it was built with `-C instrument-coverage`: the compiler
//! then has a counter for each piece of code, all of them in one section of the program's memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// Where the compiler puts its counters, each of eight bytes.
const SECTION: &[u8] = b"__llvm_prf_cnts";
const COUNTER_BYTES: usize = 8;

/// An ELF file whose addresses are relative to where it is loaded.
const RELOCATABLE: u64 = 3;

/// The counters of this process.
pub(crate) struct Coverage {
    memory: File,
    address: u64,
    counters: Vec<u8>,
    reached: usize,
}

impl Coverage {
    /// `None`: the program was not built with counters.
    pub(crate) fn open() -> Option<Coverage> {
        let program = fs::read("/proc/self/exe").ok()?;
        let (address, size) = section(&program)?;
        let base = match number(&program, 0x10, 2)? {
            RELOCATABLE => base()?,
            _ => 0,
        };
        let memory = File::open("/proc/self/mem").ok()?;
        let counters = vec![0; usize::try_from(size).ok()?];
        let mut coverage = Coverage { memory, address: base + address, counters, reached: 0 };
        coverage.has_grown().then_some(coverage)
    }

    /// Whether code has run that had not when this was asked last.
    pub(crate) fn has_grown(&mut self) -> bool {
        if self.memory.read_exact_at(&mut self.counters, self.address).is_err() {
            return false;
        }
        let (counters, _) = self.counters.as_chunks::<COUNTER_BYTES>();
        let has_run = |counter: &&[u8; COUNTER_BYTES]| u64::from_ne_bytes(**counter) != 0;
        let reached = counters.iter().filter(has_run).count();
        let before = std::mem::replace(&mut self.reached, reached);
        reached > before
    }

    /// Counters that are not zero.
    pub(crate) const fn reached(&self) -> usize {
        self.reached
    }
}

/// Address and size of the counters in an ELF file of 64 bits.
fn section(program: &[u8]) -> Option<(u64, u64)> {
    let headers = number(program, 0x28, 8)?;
    let (size, count) = (number(program, 0x3a, 2)?, number(program, 0x3c, 2)?);
    let names = headers + size * number(program, 0x3e, 2)?;
    let names = number(program, names + 0x18, 8)?;
    (0..count).map(|index| headers + index * size).find_map(|header| {
        let name = usize::try_from(names + number(program, header, 4)?).ok()?;
        let is_it = program.get(name..)?.starts_with(SECTION);
        let place =
            || Some((number(program, header + 0x10, 8)?, number(program, header + 0x20, 8)?));
        is_it.then(place)?
    })
}

fn number(program: &[u8], at: u64, size: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = program.get(at..at + size)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Where the program is loaded: its own mapping is the first (proc(5)).
fn base() -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    u64::from_str_radix(maps.split('-').next()?, 16).ok()
}
