//! The `tidegate` command; everything it does is in `cli/`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidegate::cli::main()
}

/// Bodies of all sizes come and go for months: the system's allocator fragments under that.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;
