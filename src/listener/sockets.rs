//! Listening sockets: bound here, or handed over by whoever listened before.
//!
//! Each worker has a socket of its own for every listener, and with `SO_REUSEPORT` each socket has a queue of its own. So what goes
//! from one process to the next is the sockets themselves: one that is closed takes along who waits in its queue, and one that is
//! bound anew beside it does not get them.
//!
//! ```text
//! handed over, as many as workers ──► one each
//!              more                ──► a worker turns several; none is closed while its listener stands
//!              fewer               ──► the rest are bound beside them, or where that is not allowed share one
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::config::limits::BACKLOG;

/// What a listener is for; a socket for one is never taken for the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Clients.
    Clients,
    /// The calls of operators.
    Admin,
}

/// The sockets of one listener, on their way from one process to another.
#[derive(Debug)]
pub struct Handed {
    /// The address as the settings of then had it; of a service manager's, where it is bound.
    pub address: SocketAddr,
    /// What it was for; `None` where whoever hands it over does not know.
    pub purpose: Option<Purpose>,
    /// All of them.
    pub sockets: Vec<OwnedFd>,
}

/// What was handed over and has not been taken up.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<Vec<Handed>>);

impl Inherited {
    /// Takes these.
    pub fn new(handed: Vec<Handed>) -> Self {
        Self(Mutex::new(handed))
    }

    /// Whether there are some for the address.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.lock().iter().any(|handed| handed.address == address)
    }

    /// Where those that are left are bound: of listeners that are no more.
    pub fn left(&self) -> Vec<SocketAddr> {
        self.0.lock().iter().map(|handed| handed.address).collect()
    }

    /// The sockets for a listener, if there are some.
    fn take(&self, address: SocketAddr, purpose: Purpose) -> Vec<StdListener> {
        let mut all = self.0.lock();
        let found = all.iter().position(|handed| {
            handed.address == address && handed.purpose.is_none_or(|known| known == purpose)
        });
        let sockets = found.map(|at| all.remove(at).sockets).unwrap_or_default();
        sockets.into_iter().map(StdListener::from).collect()
    }
}

/// The sockets of one listener that workers accept from, as long as they do.
#[derive(Debug)]
pub struct OpenSockets {
    address: SocketAddr,
    purpose: Purpose,
    sockets: Mutex<Vec<Weak<StdListener>>>,
}

impl OpenSockets {
    pub(super) fn new(address: SocketAddr, purpose: Purpose) -> Arc<Self> {
        Arc::new(Self { address, purpose, sockets: Mutex::default() })
    }

    pub(super) fn add(&self, socket: &Arc<StdListener>) {
        self.sockets.lock().push(Arc::downgrade(socket));
    }

    /// Has all of them listen; those that do already go on.
    ///
    /// # Errors
    /// As the system says of the address.
    pub fn listen(&self) -> io::Result<()> {
        for socket in self.sockets.lock().iter().filter_map(Weak::upgrade) {
            // The kernel lowers it to net.core.somaxconn.
            socket2::SockRef::from(&*socket).listen(BACKLOG)?;
        }
        Ok(())
    }

    /// The address, as the settings have it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Those that are accepted from now, to be handed over.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn hand_over(&self) -> io::Result<Handed> {
        let open = self.sockets.lock();
        let sockets = open.iter().filter_map(Weak::upgrade).map(|socket| socket.as_fd().try_clone_to_owned());
        Ok(Handed {
            address: self.address,
            purpose: Some(self.purpose),
            sockets: sockets.collect::<Result<_, _>>()?,
        })
    }
}

/// The sockets of each worker for one listener.
///
/// # Errors
/// As the system says of the address.
pub(super) fn open(
    address: SocketAddr,
    purpose: Purpose,
    workers: usize,
    inherited: &Inherited,
) -> io::Result<Vec<Vec<StdListener>>> {
    let handed = inherited.take(address, purpose);
    let mut each: Vec<Vec<StdListener>> = std::iter::repeat_with(Vec::new).take(workers).collect();
    // The first takes the port where it is 0, the others follow.
    let mut at = handed.first().map_or(Ok(address), StdListener::local_addr)?;
    let count = handed.len();
    for (number, socket) in handed.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        if let Some(worker) = each.get_mut(number % workers.max(1)) {
            worker.push(socket);
        }
    }
    for number in count..workers {
        let socket = match (bound(at), each.first().and_then(|sockets| sockets.first())) {
            (Ok(socket), _) => socket,
            // Bound by somebody else for us: it cannot be bound beside, so it is shared.
            (Err(_), Some(first)) if count > 0 => first.try_clone()?,
            (Err(error), _) => return Err(error),
        };
        at = socket.local_addr()?;
        if let Some(worker) = each.get_mut(number) {
            worker.push(socket);
        }
    }
    Ok(each)
}

/// Bound, and not listening yet: connections would wait in a queue that may never be turned to.
fn bound(address: SocketAddr) -> io::Result<StdListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn port(socket: &StdListener) -> u16 {
        socket.local_addr().expect("bound").port()
    }

    fn handed(address: SocketAddr, purpose: Option<Purpose>, count: usize) -> (Inherited, u16) {
        let sockets = open(ANY, Purpose::Clients, count, &Inherited::default()).expect("a free port");
        let port = port(&sockets[0][0]);
        let sockets = sockets.into_iter().flatten().map(OwnedFd::from).collect();
        (Inherited::new(vec![Handed { address, purpose, sockets }]), port)
    }

    #[test]
    fn workers_share_out_what_was_handed_over() {
        for (claim, sockets, workers, expected) in [
            ("as many", 2, 2, vec![1, 1]),
            ("fewer workers turn them all", 5, 2, vec![3, 2]),
            ("more workers bind beside them", 1, 3, vec![1, 1, 1]),
            ("none was handed over", 0, 2, vec![1, 1]),
        ] {
            let (inherited, known) = if sockets == 0 {
                (Inherited::default(), 0)
            } else {
                handed(ANY, Some(Purpose::Clients), sockets)
            };
            let each = open(ANY, Purpose::Clients, workers, &inherited).expect(claim);
            assert_eq!(each.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{claim}");
            let ports: Vec<_> = each.iter().flatten().map(port).collect();
            assert!(
                ports.iter().all(|one| *one == ports[0] && (known == 0 || *one == known)),
                "{claim}: {ports:?}"
            );
            assert!(inherited.left().is_empty(), "{claim}");
        }
    }

    #[test]
    fn one_that_cannot_be_bound_beside_is_shared() {
        let alone = StdListener::bind(ANY).expect("a free port");
        let address = alone.local_addr().expect("bound");
        let inherited = Inherited::new(vec![Handed { address, purpose: None, sockets: vec![alone.into()] }]);
        let each = open(address, Purpose::Admin, 2, &inherited).expect("it is shared");
        assert_eq!(each.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn what_was_for_operators_is_not_for_clients() {
        let (inherited, _) = handed(ANY, Some(Purpose::Admin), 1);
        open(ANY, Purpose::Clients, 1, &inherited).expect("another port");
        assert_eq!(inherited.left(), [ANY]);
    }
}
