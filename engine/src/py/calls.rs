//! The one class of the border, a call a line of `mainstay.engine`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::EngineError;
use crate::admin::Answer;
use crate::codec::{native, rpc};
use crate::engine::{self, DrainScope};
use crate::plan;
use crate::reactor::sys;
use crate::tls::Key;

/// One data plane inside this process.
#[pyclass(frozen, module = "mainstay._engine")]
pub struct Engine {
    engine: engine::Engine,
    /// A forked child has none of the threads: it only gets errors.
    process: u32,
}

fn refuse(what: impl Into<String>) -> PyErr {
    EngineError::new_err(what.into())
}

/// Works without the GIL; a panic becomes an `EngineError`.
fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .map_err(|_| refuse("the engine panicked in this call; its message is on stderr"))
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> PyResult<T> {
    plan::decode(bytes).map_err(|error| refuse(format!("{what}: {error}")))
}

fn encode<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = plan::encode(value).map_err(|error| refuse(error.to_string()))?;
    Ok(PyBytes::new(py, &bytes))
}

/// What frames of a described protocol hold. Needs no engine.
#[pyfunction]
pub(super) fn explain_protocol<'py>(
    py: Python<'py>,
    protocol: &[u8],
    frames: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let protocol: plan::RpcProtocol = decode(protocol, "protocol")?;
    let explained = released(py, || rpc::explain(&protocol, frames))?;
    encode(py, &explained.map_err(|error| refuse(format!("protocol: {error}")))?)
}

/// The table of native codecs. Needs no engine.
#[pyfunction]
pub(super) fn native_codecs(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    encode(py, &native::table())
}

impl Engine {
    fn engine(&self) -> PyResult<&engine::Engine> {
        if self.process == std::process::id() {
            Ok(&self.engine)
        } else {
            Err(refuse("the engine runs in the parent of this process: it does not survive a fork"))
        }
    }

    fn key(&self, id: u64) -> PyResult<Arc<Key>> {
        self.engine()?.keys().get(id).ok_or_else(|| refuse(format!("key {id} is not there")))
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, settings: &[u8]) -> PyResult<Self> {
        let settings = decode(settings, "settings")?;
        let started = released(py, || engine::Engine::start(settings))?;
        let engine = started.map_err(|error| refuse(error.0))?;
        Ok(Self { engine, process: std::process::id() })
    }

    fn apply<'py>(&self, py: Python<'py>, delta: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine()?;
        // Decoded without the GIL too: a delta may hold thousands of resources.
        let report = released(py, || {
            plan::decode(delta).map(|delta| engine.apply(delta)).map_err(|error| error.to_string())
        })?;
        encode(py, &report.map_err(|error| refuse(format!("delta: {error}")))?)
    }

    fn check<'py>(&self, py: Python<'py>, delta: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine()?;
        let report = released(py, || {
            plan::decode(delta).map(|delta| engine.check(&delta)).map_err(|error| error.to_string())
        })?;
        encode(py, &report.map_err(|error| refuse(format!("delta: {error}")))?)
    }

    fn wait<'py>(&self, py: Python<'py>, timeout_milliseconds: u64) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine()?;
        let events = released(py, || engine.wait(Duration::from_millis(timeout_milliseconds)))?;
        encode(py, &events)
    }

    fn set_timer(&self, delay_milliseconds: u64, token: u64) -> PyResult<()> {
        self.engine()?.set_timer(Duration::from_millis(delay_milliseconds), token);
        Ok(())
    }

    fn open_grpc(&self, cluster: String, path: String, metadata: Vec<(String, String)>) -> PyResult<u64> {
        Ok(self.engine()?.open_grpc(cluster, path, metadata))
    }

    fn send(&self, call: u64, message: &[u8], end: bool) -> PyResult<()> {
        self.engine()?.send(call, message.to_vec(), end).map_err(|error| refuse(error.0))
    }

    fn grant(&self, call: u64, messages: u32) -> PyResult<()> {
        self.engine()?.grant(call, messages);
        Ok(())
    }

    fn cancel(&self, call: u64) -> PyResult<()> {
        self.engine()?.cancel(call);
        Ok(())
    }

    /// Too late is harmless.
    fn answer(&self, token: u64, status: u16, content_type: String, body: &[u8]) -> PyResult<()> {
        let answer = Answer { status, content_type: content_type.into(), body: body.to_vec() };
        self.engine()?.answer(token, answer);
        Ok(())
    }

    fn set_ready(&self, ready: bool) -> PyResult<()> {
        self.engine()?.set_ready(ready);
        Ok(())
    }

    fn set_metrics(&self, text: &str) -> PyResult<()> {
        self.engine()?.set_metrics(text);
        Ok(())
    }

    fn give_back_memory(&self, py: Python<'_>) -> PyResult<()> {
        released(py, sys::give_back_memory)
    }

    fn drain(&self, scope: &str, min_milliseconds: u64, max_milliseconds: u64) -> PyResult<u64> {
        let scope = match scope {
            "inbound" => DrainScope::Inbound,
            "process" => DrainScope::Process,
            other => return Err(refuse(format!("drain scope \"{other}\" is neither inbound nor process"))),
        };
        let (min, max) = (Duration::from_millis(min_milliseconds), Duration::from_millis(max_milliseconds));
        Ok(self.engine()?.drain(scope, min, max))
    }

    fn held<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine()?;
        let held = released(py, || engine.held())?;
        encode(py, &held)
    }

    fn listeners(&self) -> PyResult<Vec<(String, String)>> {
        Ok(self.engine()?.listeners())
    }

    fn extensions(&self) -> PyResult<Vec<String>> {
        Ok(self.engine()?.extensions())
    }

    fn render<'py>(&self, py: Python<'py>, page: &str) -> PyResult<Bound<'py, PyBytes>> {
        let engine = self.engine()?;
        let rendered = released(py, || engine.render(page))?;
        let body = rendered.ok_or_else(|| refuse(format!("{page:?} is no page: it must begin with /")))?;
        Ok(PyBytes::new(py, &body))
    }

    fn set_log_level(&self, room: &str, level: &str) -> PyResult<()> {
        self.engine()?.set_log_level(room, level).map_err(|error| refuse(error.0))
    }

    fn signal_descriptor(&self) -> PyResult<i32> {
        Ok(self.engine()?.signal_descriptor())
    }

    fn generate_key(&self, py: Python<'_>) -> PyResult<u64> {
        let engine = self.engine()?;
        let made = released(py, || Key::generate().map(|key| engine.keys().add(key)))?;
        made.map_err(|error| refuse(error.to_string()))
    }

    fn import_key(&self, pem: &[u8]) -> PyResult<u64> {
        let key = Key::import(pem).map_err(|error| refuse(error.to_string()))?;
        Ok(self.engine()?.keys().add(key))
    }

    fn export_key<'py>(&self, py: Python<'py>, key: u64) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.key(key)?.export().as_bytes()))
    }

    fn forget_key(&self, key: u64) -> PyResult<()> {
        self.engine()?.keys().forget(key);
        Ok(())
    }

    fn make_csr<'py>(&self, py: Python<'py>, key: u64, uri: &str) -> PyResult<Bound<'py, PyBytes>> {
        let request = self.key(key)?.make_request(uri).map_err(|error| refuse(error.to_string()))?;
        Ok(PyBytes::new(py, &request))
    }

    fn shutdown(&self, py: Python<'_>, deadline_milliseconds: u64) -> PyResult<()> {
        let engine = self.engine()?;
        released(py, || engine.shutdown(Duration::from_millis(deadline_milliseconds)))
    }
}
