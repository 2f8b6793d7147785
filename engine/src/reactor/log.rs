//! The engine's own log, for the operator: one line a message on stderr, in the form of Python's.
//!
//! In: room, level, and what to say if anybody wants to hear it. Out: `time level engine.room message key=value …`, written by `errands`,
//! so that a full pipe holds up no worker. Bounded: lines beyond are dropped, counted, and the next one says so.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::errands::Errands;
use crate::telemetry::write_time;

/// Lines that may wait to be written.
const WAITING: usize = 256;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Connections and listeners.
    Reactor,
    /// Handshakes.
    Tls,
    /// Configuration in force.
    Snapshot,
    /// Access logs.
    Telemetry,
}

impl Room {
    const ALL: [Self; 4] = [Self::Reactor, Self::Snapshot, Self::Telemetry, Self::Tls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Reactor => "reactor",
            Self::Tls => "tls",
            Self::Snapshot => "snapshot",
            Self::Telemetry => "telemetry",
        }
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    /// Nothing is said at all.
    Off,
}

impl Level {
    const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Off];

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    /// Envoy's names are taken too.
    fn find(name: &str) -> Option<Self> {
        match name {
            "trace" => Some(Self::Debug),
            "warn" => Some(Self::Warning),
            "critical" => Some(Self::Error),
            name => Self::ALL.into_iter().find(|level| level.name() == name),
        }
    }
}

/// A value of a message: as it is if it reads as one word, else quoted, which keeps line breaks out.
pub struct Value<T>(pub T);

impl<T: fmt::Display> fmt::Display for Value<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let is_plain =
            !text.is_empty() && text.chars().all(|sign| !sign.is_control() && !" =\"".contains(sign));
        if is_plain { formatter.write_str(&text) } else { write!(formatter, "{text:?}") }
    }
}

/// Levels by room, and the way to stderr.
#[derive(Debug)]
pub struct Log {
    levels: [AtomicU8; Room::ALL.len()],
    errands: OnceLock<Arc<Errands>>,
    waiting: Arc<AtomicUsize>,
    dropped: AtomicU64,
    /// One JSON object a line, as Python writes it.
    json: AtomicBool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            levels: std::array::from_fn(|_| AtomicU8::new(Level::Info as u8)),
            errands: OnceLock::new(),
            waiting: Arc::default(),
            dropped: AtomicU64::new(0),
            json: AtomicBool::new(false),
        }
    }
}

impl Log {
    /// From now on messages are written.
    pub fn write_by(&self, errands: &Arc<Errands>) {
        let _ = self.errands.set(Arc::clone(errands));
    }

    /// One JSON object a line from now on.
    pub fn write_json(&self) {
        self.json.store(true, Ordering::Relaxed);
    }

    pub fn wants(&self, room: Room, level: Level) -> bool {
        self.levels.get(room as usize).is_some_and(|wanted| level as u8 >= wanted.load(Ordering::Relaxed))
    }

    /// `what` is only asked for if the room speaks at this level.
    pub fn say(&self, room: Room, level: Level, what: impl FnOnce() -> String) {
        if !self.wants(room, level) {
            return;
        }
        let Some(errands) = self.errands.get() else { return };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let write = if self.json.load(Ordering::Relaxed) { json_line } else { line };
        let line = write(room, level, &what(), self.dropped.swap(0, Ordering::Relaxed));
        let waiting = Arc::clone(&self.waiting);
        let queued = errands.run(move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            // Where stderr is gone there is nobody to tell.
            let _ = std::io::stderr().write_all(&line);
        });
        if queued.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn levels(&self) -> Vec<(String, String)> {
        let level = |room: Room| {
            let wanted = self.levels.get(room as usize).map_or(0, |level| level.load(Ordering::Relaxed));
            Level::ALL.get(usize::from(wanted)).map_or("", |level| level.name())
        };
        Room::ALL.into_iter().map(|room| (room.name().to_owned(), level(room).to_owned())).collect()
    }

    /// `room` empty: all of them. Refuses what it does not know by name.
    pub fn set_level(&self, room: &str, level: &str) -> Result<(), String> {
        let known = || Level::ALL.map(Level::name).join(", ");
        let wanted = Level::find(level).ok_or_else(|| format!("level {level:?} is none of {}", known()))?;
        let rooms: Vec<Room> =
            Room::ALL.into_iter().filter(|known| room.is_empty() || known.name() == room).collect();
        if rooms.is_empty() {
            return Err(format!("room {room:?} is none of {}", Room::ALL.map(Room::name).join(", ")));
        }
        for room in rooms {
            if let Some(level) = self.levels.get(room as usize) {
                level.store(wanted as u8, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn line(room: Room, level: Level, what: &str, dropped: u64) -> Vec<u8> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut line = Vec::with_capacity(what.len() + 64);
    write_time("%Y-%m-%dT%H:%M:%S.%3fZ", wall, &mut line);
    // Writing to memory does not fail.
    let _ = write!(line, " {} engine.{} {what}", level.name(), room.name());
    if dropped > 0 {
        let _ = write!(line, " left_out={dropped}");
    }
    line.push(b'\n');
    line
}

/// The same as an object. `what` is a message with fields behind it, as `Value` writes them.
fn json_line(room: Room, level: Level, what: &str, dropped: u64) -> Vec<u8> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut line = b"{\"time\": \"".to_vec();
    write_time("%Y-%m-%dT%H:%M:%S.%3fZ", wall, &mut line);
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (message, fields) = parts(what);
    let (level, room) = (level.name(), room.name());
    let _ = write!(
        line,
        "\", \"level\": \"{level}\", \"room\": \"engine.{room}\", \"message\": {}",
        text(message)
    );
    for (name, value) in fields {
        let is_number =
            value.len() < 16 && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = if is_number { value } else { text(&value) };
        let _ = write!(line, ", {}: {value}", text(name));
    }
    if dropped > 0 {
        let _ = write!(line, ", \"left_out\": {dropped}");
    }
    line.extend_from_slice(b"}\n");
    line
}

/// The message, and the fields behind it.
fn parts(what: &str) -> (&str, Vec<(&str, String)>) {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let field_at = |text: &str| -> Option<usize> {
        let mut start = 0;
        loop {
            let (before, _) = text.get(start..)?.split_once('=')?;
            let name = before.rsplit(' ').next()?;
            let end = start + before.len();
            if is_name(name) && end > name.len() {
                return Some(end - name.len());
            }
            start = end + 1;
        }
    };
    let Some(start) = field_at(what) else { return (what, Vec::new()) };
    let (message, mut rest) = what.split_at(start);
    let mut fields = Vec::new();
    while let Some((name, after)) = rest.trim_start().split_once('=') {
        let (value, behind) = value_of(after);
        fields.push((name, value));
        rest = behind;
    }
    (message.trim_end(), fields)
}

/// One value as `Value` writes it, and what follows.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(' ').unwrap_or((text, ""));
        return (value.to_owned(), rest);
    };
    let (mut value, mut signs) = (String::new(), quoted.char_indices());
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return (value, quoted.get(at + 1..).unwrap_or("")),
            '\\' => match signs.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other)) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_hold_message_and_fields() {
        for (what, expected) in [
            ("bound", r#""message": "bound"}"#),
            (
                "a client was turned away listener=in why=\"connection limit\" count=7",
                r#""message": "a client was turned away", "listener": "in", "why": "connection limit", "count": 7}"#,
            ),
            ("odd text with 1=2 in it", r#""message": "odd text with 1=2 in it"}"#),
            (
                &format!("said what={}", Value("a \"b\"\nc\\d")),
                r#""message": "said", "what": "a \"b\"\nc\\d"}"#,
            ),
        ] {
            let line = String::from_utf8(json_line(Room::Tls, Level::Warning, what, 0)).unwrap();
            assert!(line.ends_with(&format!("{expected}\n")), "{line}");
            assert!(line.contains(r#""level": "warning", "room": "engine.tls""#), "{line}");
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
        let line = String::from_utf8(json_line(Room::Tls, Level::Info, "x", 3)).unwrap();
        assert!(line.ends_with("\"left_out\": 3}\n"));
    }

    #[test]
    fn rooms_speak_at_their_level_and_unknown_ones_are_refused_by_name() {
        let log = Log::default();
        assert!(!log.wants(Room::Tls, Level::Debug));
        log.set_level("tls", "debug").unwrap();
        assert!(log.wants(Room::Tls, Level::Debug) && !log.wants(Room::Reactor, Level::Debug));
        assert!(log.set_level("kitchen", "info").unwrap_err().contains("kitchen"));
        assert!(log.set_level("tls", "loud").unwrap_err().contains("loud"));
        log.set_level("", "off").unwrap();
        assert!(!log.wants(Room::Reactor, Level::Error));
        assert!(log.levels().iter().all(|(_, level)| level == "off"));
    }

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let what = format!("closed peer={} why={}", Value("10.0.0.1:80"), Value("broken\npipe"));
        let text = String::from_utf8(line(Room::Reactor, Level::Warning, &what, 3)).unwrap();
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!((time.len(), time.chars().last()), (24, Some('Z')), "{time}");
        assert_eq!(rest, "warning engine.reactor closed peer=10.0.0.1:80 why=\"broken\\npipe\" left_out=3\n");
    }
}
