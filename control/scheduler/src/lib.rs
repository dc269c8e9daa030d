//! The scheduler: filter, score, bind.
