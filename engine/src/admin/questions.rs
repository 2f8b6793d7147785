//! Requests that only the application around the engine can answer, and those who wait for it.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::request::{Method, Request};
use super::server::Answer;
use crate::plan::{Asker, Event};

/// An application that has not answered by then is stuck, as far as the operator is concerned.
pub const OPERATORS_PATIENCE: Duration = Duration::from_secs(1);
/// Those who register wait longer (SOFARPC: 15 s): long enough for a brain to start over.
pub const APPLICATIONS_PATIENCE: Duration = Duration::from_secs(10);
/// Questions that may be open; the admin listener serves no more connections at once anyway.
const OPEN: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, SyncSender<Answer>>,
}

/// Open questions by their tokens.
#[derive(Debug, Default)]
pub struct Questions(Mutex<Waiting>);

impl Questions {
    /// Asks by an `Asked` event and waits for the answer; `None` when none came in time.
    pub fn ask(
        &self,
        request: &Request,
        asker: Asker,
        patience: Duration,
        emit: impl FnOnce(Event),
    ) -> Option<Answer> {
        let (sender, answer) = sync_channel(1);
        let token = {
            let mut waiting = self.lock();
            if waiting.answers.len() >= OPEN {
                return None;
            }
            waiting.next += 1;
            let token = waiting.next;
            waiting.answers.insert(token, sender);
            token
        };
        emit(Event::Asked {
            token,
            asker,
            method: if request.method == Method::Post { "POST" } else { "GET" }.to_owned(),
            path: request.target.clone(),
            body: request.body.clone(),
        });
        let answer = answer.recv_timeout(patience).ok();
        self.lock().answers.remove(&token);
        answer
    }

    /// What the application says; too late is harmless.
    pub fn answer(&self, token: u64, answer: Answer) {
        if let Some(sender) = self.lock().answers.remove(&token) {
            let _ = sender.try_send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn request(target: &str) -> Request {
        let text = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        match super::super::request::parse(text.as_bytes()) {
            super::super::request::Parsed::Whole(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_finds_its_question() {
        let questions = Arc::new(Questions::default());
        let other = Arc::clone(&questions);
        let answer = questions.ask(&request("/a?b=c"), Asker::Operator, OPERATORS_PATIENCE, move |event| {
            let Event::Asked { token, method, path, .. } = event else { panic!("{event:?}") };
            assert_eq!((method.as_str(), path.as_str()), ("POST", "/a?b=c"));
            // From another thread, as Python would.
            std::thread::spawn(move || {
                other.answer(token + 1, Answer::text(500, "not this one"));
                other.answer(token, Answer::text(200, "yes"));
                other.answer(token, Answer::text(200, "again"));
            });
        });
        assert_eq!(answer, Some(Answer::text(200, "yes")));
        assert!(questions.lock().answers.is_empty());
    }

    #[test]
    fn silence_is_no_answer() {
        let questions = Questions::default();
        assert_eq!(questions.ask(&request("/"), Asker::Application, Duration::from_millis(10), |_| ()), None);
        assert!(questions.lock().answers.is_empty());
    }
}
