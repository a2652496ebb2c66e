//! relay/engine
