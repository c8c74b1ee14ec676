//! The room `route`.
