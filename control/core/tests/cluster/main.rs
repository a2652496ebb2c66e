//! The cluster as pure state: documents, settings, views.

mod documents;
mod farm_settings;
mod make;
mod membership;
mod settings;
