//! control/core
#![forbid(unsafe_code)]
