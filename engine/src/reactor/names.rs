//! Host names to addresses, with the time they are good for. Blocks: for `errands` alone.
//!
//! In: a name. Out: addresses, or that there is no answer. Names in the hosts file and single labels are the system
//! resolver's; for others the name servers of `/etc/resolv.conf` are asked, since only their answers tell a lifetime. Where
//! those say nothing the system's resolver has the last word, with whatever else the host is configured to use.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use crate::codec::dns::{Answer, Family, Question};

/// For one name, all servers and candidates together.
const PATIENCE: Duration = Duration::from_secs(5);
/// For one server to answer one candidate, before the next is asked.
const ATTEMPT: Duration = Duration::from_millis(1_500);
const ATTEMPTS: usize = 2;
/// As the system's resolver (resolv.conf(5)).
const MAX_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<IpAddr>,
    /// Seconds; unknown where the system's resolver answered.
    pub ttl: Option<u32>,
}

/// Nobody knows the name, or nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unresolved;

/// Looks a name up as this host is configured to. `random`: an unpredictable number.
pub fn look_up(name: &str, random: u64) -> Result<Found, Unresolved> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_local =
        !name.contains('.') || name.parse::<IpAddr>().is_ok() || in_hosts(&read("/etc/hosts"), name);
    if !is_local {
        let servers = Servers::parse(&read("/etc/resolv.conf"));
        if let Some(found) = servers.ask(name, random) {
            return Ok(found);
        }
    }
    by_system(name)
}

fn by_system(name: &str) -> Result<Found, Unresolved> {
    let found = (name, 0).to_socket_addrs().map_err(|_| Unresolved)?;
    Ok(Found { addresses: found.map(|address| address.ip()).collect(), ttl: None })
}

fn in_hosts(text: &str, name: &str) -> bool {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .any(|line| line.split_whitespace().skip(1).any(|host| host.eq_ignore_ascii_case(name)))
}

/// Who is asked, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Servers {
    addresses: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with fewer dots is looked for in the search domains first.
    dots: usize,
}

impl Servers {
    fn parse(text: &str) -> Self {
        let mut servers = Self { addresses: Vec::new(), search: Vec::new(), dots: 1 };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.addresses.extend(address.map(|ip| SocketAddr::new(ip, DNS_PORT)));
                }
                Some("search" | "domain") => servers.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    servers.dots = dots.unwrap_or(servers.dots);
                }
                _ => {}
            }
        }
        servers.addresses.truncate(MAX_SERVERS);
        servers
    }

    /// The names to try in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let own = [name.to_owned()].into_iter();
        if name.matches('.').count() < self.dots {
            searched.chain(own).collect()
        } else {
            own.chain(searched).collect()
        }
    }

    fn ask(&self, name: &str, random: u64) -> Option<Found> {
        let deadline = Instant::now() + PATIENCE;
        let mut id = random;
        for candidate in self.candidates(name) {
            'servers: for server in self.addresses.iter().cycle().take(self.addresses.len() * ATTEMPTS) {
                let rest = deadline.checked_duration_since(Instant::now())?;
                id = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let patience = rest.min(ATTEMPT);
                match ask_server(*server, &candidate, (id >> 32) as u16, patience) {
                    Ok(Some(found)) => return Some(found),
                    // There is no such name: the next candidate.
                    Ok(None) => break 'servers,
                    Err(_) => {}
                }
            }
        }
        None
    }
}

/// Both families at once. `None`: the server knows that there is nothing.
fn ask_server(server: SocketAddr, name: &str, id: u16, patience: Duration) -> io::Result<Option<Found>> {
    let question = |id, family| Question::new(id, name, family).ok_or(io::ErrorKind::InvalidInput);
    let questions = [question(id, Family::V4)?, question(id.wrapping_add(1), Family::V6)?];
    let deadline = Instant::now() + patience;
    let mut answers: [Option<Answer>; 2] = [None, None];
    // A port of its own for each pair: what others send to it is not ours (RFC 5452).
    let local: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    for question in &questions {
        socket.send(&question.to_bytes())?;
    }
    let mut buffer = [0; 4_096];
    while answers.iter().any(Option::is_none) {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(rest))?;
        let count = socket.recv(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or(&[]);
        for (question, answer) in questions.iter().zip(&mut answers) {
            if let Ok(read) = question.read(bytes) {
                *answer = Some(read);
            }
        }
    }
    for (question, answer) in questions.iter().zip(&mut answers) {
        if *answer == Some(Answer::Truncated) {
            *answer = Some(ask_over_tcp(server, question, deadline)?);
        }
    }
    merge(answers.into_iter().flatten())
}

fn ask_over_tcp(server: SocketAddr, question: &Question, deadline: Instant) -> io::Result<Answer> {
    let rest = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut socket = TcpStream::connect_timeout(&server, rest)?;
    socket.set_read_timeout(Some(rest))?;
    socket.set_write_timeout(Some(rest))?;
    let bytes = question.to_bytes();
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
    let mut length = [0; 2];
    socket.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    socket.read_exact(&mut answer)?;
    question.read(&answer).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The addresses of both families. An error of the server is no answer.
fn merge(answers: impl Iterator<Item = Answer>) -> io::Result<Option<Found>> {
    let mut found = Found { addresses: Vec::new(), ttl: None };
    let mut failed = false;
    for answer in answers {
        match answer {
            Answer::Addresses { addresses, ttl } => {
                found.addresses.extend(addresses);
                found.ttl = Some(found.ttl.map_or(ttl, |known| known.min(ttl)));
            }
            Answer::None { .. } => {}
            Answer::Truncated | Answer::Failed(_) => failed = true,
        }
    }
    match (found.addresses.is_empty(), failed) {
        (false, _) => Ok(Some(found)),
        (true, false) => Ok(None),
        (true, true) => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn configuration_is_read_as_the_system_reads_it() {
        let text = "# c\nnameserver 10.0.0.53 ; main\nnameserver fe80::1%eth0\nnameserver ::1\nsearch a.local b.local\n\
                    options timeout:1 ndots:5\nnameserver 1.1.1.1\nnameserver 9.9.9.9\n";
        let servers = Servers::parse(text);
        let expected: Vec<SocketAddr> =
            ["10.0.0.53:53", "[::1]:53", "1.1.1.1:53"].map(|text| text.parse().unwrap()).into();
        assert_eq!((servers.addresses.clone(), servers.dots), (expected, 5));
        assert_eq!(servers.candidates("x.y"), ["x.y.a.local", "x.y.b.local", "x.y"]);
        let plain = Servers { dots: 1, ..servers };
        assert_eq!(plain.candidates("x.y"), ["x.y", "x.y.a.local", "x.y.b.local"]);
    }

    #[test]
    fn names_of_the_hosts_file_are_not_asked_for() {
        let text = "127.0.0.1 localhost\n10.0.0.1\tshop.example Web # old.example\n";
        for (name, known) in
            [("shop.example", true), ("web", true), ("10.0.0.1", false), ("old.example", false)]
        {
            assert_eq!(in_hosts(text, name), known, "{name}");
        }
        assert_eq!(look_up("127.0.0.1", 1).unwrap().addresses, [IpAddr::from([127, 0, 0, 1])]);
        assert!(look_up("localhost", 1).unwrap().addresses.iter().all(IpAddr::is_loopback));
    }

    /// A record of the question's name behind a copy of the question.
    fn reply(question: &[u8], flags: u16, address: Option<[u8; 4]>) -> Vec<u8> {
        let end = question.len() - 11;
        let mut bytes = question[..end].to_vec();
        bytes[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        bytes[6..12].copy_from_slice(&[0, u8::from(address.is_some()), 0, 0, 0, 0]);
        if let Some(address) = address {
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
            bytes.extend(address);
        }
        bytes
    }

    fn is_v4(question: &[u8]) -> bool {
        question[question.len() - 15..][..2] == [0, 1]
    }

    /// A name server that answers as `answer` says, on UDP and TCP of one port.
    fn server(answer: fn(&[u8], bool) -> Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((count, client)) = socket.recv_from(&mut buffer) {
                socket.send_to(&answer(&buffer[..count], false), client).unwrap();
            }
        });
        std::thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                let mut length = [0; 2];
                socket.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                socket.read_exact(&mut question).unwrap();
                let bytes = answer(&question, true);
                socket.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
                socket.write_all(&bytes).unwrap();
            }
        });
        address
    }

    fn ask(address: SocketAddr, name: &str) -> Option<Found> {
        Servers { addresses: vec![address], search: Vec::new(), dots: 1 }.ask(name, 99)
    }

    const ADDRESS: [u8; 4] = [10, 1, 2, 3];

    fn found() -> Option<Found> {
        Some(Found { addresses: vec![Ipv4Addr::from(ADDRESS).into()], ttl: Some(30) })
    }

    #[test]
    fn a_server_is_asked_for_both_families() {
        let address = server(|question, _| reply(question, 0, is_v4(question).then_some(ADDRESS)));
        assert_eq!(ask(address, "shop.example"), found());
    }

    #[test]
    fn what_does_not_fit_comes_over_tcp() {
        let address = server(|question, over_tcp| {
            reply(
                question,
                if over_tcp { 0 } else { 0x200 },
                (over_tcp && is_v4(question)).then_some(ADDRESS),
            )
        });
        assert_eq!(ask(address, "shop.example"), found());
    }

    #[test]
    fn absence_and_errors_are_no_answer() {
        let nothing = server(|question, _| reply(question, 3, None));
        assert_eq!(ask(nothing, "shop.example"), None);
        let broken = server(|question, _| reply(question, 2, None));
        assert_eq!(ask(broken, "shop.example"), None);
        let forged = server(|question, _| {
            let mut bytes = reply(question, 0, is_v4(question).then_some(ADDRESS));
            bytes[0] ^= 1;
            bytes
        });
        let asked = ask_server(forged, "shop.example", 7, Duration::from_millis(50));
        assert!(asked.is_err());
    }
}
