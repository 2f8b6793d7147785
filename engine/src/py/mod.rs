//! The border: what `mainstay._engine` offers to Python. No logic; structures cross as MessagePack.
//!
//! Every call that works or waits lets the GIL go. A panic below is caught and raised as `EngineError`, like every refusal
//! of the engine as a whole.

mod calls;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(_engine, EngineError, PyException);

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("EngineError", module.py().get_type::<EngineError>())?;
    module.add_function(wrap_pyfunction!(calls::explain_protocol, module)?)?;
    module.add_function(wrap_pyfunction!(calls::native_codecs, module)?)?;
    module.add_class::<calls::Engine>()
}
