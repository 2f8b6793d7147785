//! Log levels by room, as `/logging` shows and changes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Envoy's names, the least talkative last.
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];
const ROOMS: [&str; 8] = ["admin", "codec", "filter", "reactor", "route", "snapshot", "stream", "tls"];

#[derive(Debug)]
pub(super) struct Levels(Mutex<BTreeMap<&'static str, &'static str>>);

impl Default for Levels {
    fn default() -> Self {
        Self(Mutex::new(ROOMS.into_iter().map(|room| (room, "info")).collect()))
    }
}

impl Levels {
    pub fn list(&self) -> Vec<(String, String)> {
        let levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        levels.iter().map(|(room, level)| ((*room).to_owned(), (*level).to_owned())).collect()
    }

    /// `room` empty: all of them.
    pub fn set(&self, room: &str, level: &str) -> Result<(), String> {
        let level = LEVELS
            .into_iter()
            .find(|known| *known == level || (*known == "warning" && level == "warn"))
            .ok_or_else(|| format!("level {level:?} is none of {}", LEVELS.join(", ")))?;
        let mut levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if room.is_empty() {
            levels.values_mut().for_each(|known| *known = level);
            return Ok(());
        }
        match levels.get_mut(room) {
            Some(known) => {
                *known = level;
                Ok(())
            }
            None => Err(format!("room {room:?} is none of {}", ROOMS.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_rooms_and_levels_are_refused_by_name() {
        let levels = Levels::default();
        levels.set("tls", "debug").unwrap();
        assert!(levels.list().contains(&("tls".to_owned(), "debug".to_owned())));
        assert!(levels.set("kitchen", "info").unwrap_err().contains("kitchen"));
        assert!(levels.set("tls", "loud").unwrap_err().contains("loud"));
        levels.set("", "off").unwrap();
        assert!(levels.list().iter().all(|(_, level)| level == "off"));
    }
}
