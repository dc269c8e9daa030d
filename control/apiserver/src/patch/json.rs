//! JSON patch (RFC 6902), bounded.

use json_patch::jsonptr::Pointer;
use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::{COPIED_BYTES_MAX, DEPTH_MAX, OPERATIONS_MAX, PatchError, WORK_MAX};

/// Applies a JSON patch; all of it or nothing.
///
/// # Errors
/// [`PatchError::Malformed`] if the body is no list of operations,
/// [`PatchError::Unprocessable`] if one of them does not apply to `original`,
/// [`PatchError::TooLarge`] past the bounds of this module's parent.
pub fn json_patch(original: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch: json_patch::Patch = serde_json::from_slice(patch)
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    if patch.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            patch.len()
        )));
    }
    let mut document = original.clone();
    let mut budget = Budget {
        copied_bytes: 0,
        work: 0,
    };
    for (number, operation) in patch.iter().enumerate() {
        budget.charge(&document, operation).map_err(|what| {
            PatchError::TooLarge(format!("JSON patch operation {number}: {what}"))
        })?;
        json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation))
            .map_err(|e| PatchError::Unprocessable(explain(operation, &e.kind)))?;
    }
    Ok(document)
}

/// In the words of the library that kube-apiserver uses, which people search for.
fn explain(operation: &PatchOperation, kind: &PatchErrorKind) -> String {
    let path = operation.path();
    let (name, from) = match operation {
        PatchOperation::Add(_) => ("add", None),
        PatchOperation::Remove(_) => ("remove", None),
        PatchOperation::Replace(_) => ("replace", None),
        PatchOperation::Move(op) => ("move", Some(&op.from)),
        PatchOperation::Copy(op) => ("copy", Some(&op.from)),
        PatchOperation::Test(_) => ("test", None),
    };
    match (kind, from) {
        (PatchErrorKind::TestFailed, _) => format!("testing value {path} failed: test failed"),
        (PatchErrorKind::InvalidFromPointer, Some(from)) => {
            format!(
                "{name} operation does not apply: doc is missing from path: {from}: missing value"
            )
        }
        (PatchErrorKind::InvalidPointer, _) => {
            format!("{name} operation does not apply: doc is missing path: {path}: missing value")
        }
        (other, _) => format!("{name} operation does not apply at path {path}: {other}"),
    }
}

/// What a patch has used up so far.
struct Budget {
    copied_bytes: usize,
    work: usize,
}

impl Budget {
    /// Accounts for an operation before it is done, so that no bound is ever passed.
    fn charge(&mut self, document: &Value, operation: &PatchOperation) -> Result<(), String> {
        match operation {
            PatchOperation::Add(op) => {
                self.nest(&op.path, &op.value)?;
                self.shift(document, &op.path)
            }
            PatchOperation::Replace(op) => self.nest(&op.path, &op.value),
            PatchOperation::Remove(op) => self.shift(document, &op.path),
            PatchOperation::Move(op) => {
                if let Some(value) = document.pointer(op.from.as_str()) {
                    self.nest(&op.path, value)?;
                }
                self.shift(document, &op.from)?;
                self.shift(document, &op.path)
            }
            PatchOperation::Copy(op) => {
                if let Some(value) = document.pointer(op.from.as_str()) {
                    self.nest(&op.path, value)?;
                    let left = COPIED_BYTES_MAX - self.copied_bytes;
                    self.copied_bytes += json_bytes(value, left).ok_or_else(|| {
                        format!("copy operations may add {COPIED_BYTES_MAX} bytes in all")
                    })?;
                }
                self.shift(document, &op.path)
            }
            PatchOperation::Test(_) => Ok(()),
        }
    }

    /// A value put at `path` must not end up too deep.
    fn nest(&mut self, path: &Pointer, value: &Value) -> Result<(), String> {
        let above = path.count();
        if above > DEPTH_MAX || !fits(value, DEPTH_MAX - above, &mut self.work) {
            return Err(format!(
                "the object would be nested more than {DEPTH_MAX} deep"
            ));
        }
        self.check_work()
    }

    /// Inserting into or removing from a list shifts every item behind the place.
    fn shift(&mut self, document: &Value, path: &Pointer) -> Result<(), String> {
        if let Some((parent, last)) = path.split_back()
            && let Some(Value::Array(items)) = document.pointer(parent.as_str())
        {
            let at = last.decoded().parse().unwrap_or(items.len());
            self.work += items.len().saturating_sub(at);
        }
        self.check_work()
    }

    fn check_work(&self) -> Result<(), String> {
        if self.work > WORK_MAX {
            return Err("moving values through long lists or deep objects takes too long".into());
        }
        Ok(())
    }
}

/// True if `value` nests at most `levels` deep. Counts the values looked at.
fn fits(value: &Value, levels: usize, looked: &mut usize) -> bool {
    *looked += 1;
    match value {
        Value::Array(items) => {
            levels > 0 && items.iter().all(|item| fits(item, levels - 1, looked))
        }
        Value::Object(map) => levels > 0 && map.values().all(|item| fits(item, levels - 1, looked)),
        _ => true,
    }
}

/// The length of `value` as JSON, or `None` if that is more than `limit`.
fn json_bytes(value: &Value, limit: usize) -> Option<usize> {
    struct Counter {
        bytes: usize,
        limit: usize,
    }
    impl std::io::Write for Counter {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            self.bytes += buffer.len();
            if self.bytes > self.limit {
                return Err(std::io::ErrorKind::OutOfMemory.into());
            }
            Ok(buffer.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter { bytes: 0, limit };
    serde_json::to_writer(&mut counter, value).ok()?;
    Some(counter.bytes)
}
