//! The country of each address on standard input, a line each; `-` where the database does not say.
//!
//!     cargo run -p geo --example locate -- DATABASE.mmdb < addresses

#![allow(clippy::print_stdout)] // a program that prints what it finds

use std::io::{BufRead, Error, stdin};
use std::path::PathBuf;

use geo::{Geo, Layout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).map(PathBuf::from).ok_or_else(|| Error::other("name a database"))?;
    let geo = Geo::open_any(&path, vec![Layout::maxmind(), Layout::flat()])?;
    for line in stdin().lock().lines() {
        let country = geo.locate(line?.trim().parse()?).and_then(|place| place.country);
        println!("{}", country.map_or_else(|| "-".to_owned(), |code| code.to_string()));
    }
    Ok(())
}
