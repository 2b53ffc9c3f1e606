//! Who holds a port, so that "address in use" can name a process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// The process that listens where `address` wants to, as `nginx (pid 812)`, if this user may see it. Linux only: it reads
/// `/proc`.
pub(super) fn holder(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| {
            table.lines().skip(1).find_map(|line| listening(line, address.port()).map(str::to_owned))
        })?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&wanted)))?;
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

/// The inode of the socket in this line of the table, if it listens on `port`.
fn listening(line: &str, port: u16) -> Option<&str> {
    let mut columns = line.split_ascii_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    let local = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (local == port && state == "0A").then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 51234 1 0000 100 0 0 10 0";
        for (claim, line, port, expected) in [
            ("a listener has its inode", line.to_owned(), 8080, Some("51234")),
            ("another port is another socket", line.to_owned(), 8081, None),
            ("a connection does not listen", line.replace(" 0A ", " 01 "), 8080, None),
            ("a broken line says nothing", line.get(..20).unwrap_or_default().to_owned(), 8080, None),
        ] {
            assert_eq!(listening(&line, port), expected, "{claim}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_of_this_process_is_held_by_this_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let holder = holder(address).expect("our own files are visible");
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
