//! Strict reading of an object: each field is taken by name, and fields that are left are problems.

use std::cell::RefCell;

use serde_json::{Map, Value};

/// Part of a file that has no translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{problem}", if path.is_empty() { "" } else { ": " })]
pub struct Problem {
    /// Path of the field, such as `directories[0].contents[1].git`, or the location of a syntax error. Empty for
    /// a whole document.
    pub path: String,
    /// Reason, and the expected form.
    pub problem: String,
}

/// Problems of a file, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    all: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(super) fn add(&self, path: &str, problem: impl Into<String>) {
        self.all.borrow_mut().push(Problem { path: path.to_owned(), problem: problem.into() });
    }

    /// Adds a part that has a translation, with a risk that the user should know.
    pub(super) fn warn(&self, path: &str, problem: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { path: path.to_owned(), problem: problem.into() });
    }

    /// Returns true if no problem was found yet.
    pub(super) fn is_empty(&self) -> bool {
        self.all.borrow().is_empty()
    }

    /// Returns the problems and the warnings.
    pub(super) fn into_all(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.all.into_inner(), self.warnings.into_inner())
    }
}

/// Fields of an object that were not taken yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    rest: Map<String, Value>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Returns the fields of an object at a path; `None`, and a problem, for any other value.
    pub(super) fn of(value: Value, path: &str, problems: &'a Problems) -> Option<Self> {
        match value {
            Value::Object(rest) => Some(Self { path: path.to_owned(), rest, problems }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                problems.add(path, "expected an object");
                None
            }
        }
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Returns the path of a field.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Adds a problem of a field.
    pub(super) fn problem(&self, name: &str, problem: impl Into<String>) {
        self.problems.add(&self.path(name), problem);
    }

    /// Returns true if the object has the field, which is then not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(|value| !value.is_null())
    }

    /// Returns a field, and leaves it.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.rest.get(name)
    }

    /// Takes a field; a null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text. Numbers are refused: `tag: 1.10` is 1.1 in YAML.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.problem(name, "expected text, in quotes");
                None
            }
        }
    }

    /// Takes a text that is required and not empty.
    pub(super) fn required(&mut self, name: &str) -> Option<String> {
        if !self.has(name) {
            self.problem(name, "missing");
            return None;
        }
        let text = self.text(name)?;
        if text.is_empty() {
            self.problem(name, "empty");
            return None;
        }
        Some(text)
    }

    /// Takes true or false; false if absent.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.problem(name, "expected true or false");
                false
            }
        }
    }

    /// Takes a list; `None` if absent.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.problem(name, "expected a list");
                None
            }
        }
    }

    /// Takes a list of texts; `None` if absent.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let items = self.list(name)?;
        let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        if texts.is_none() {
            self.problem(name, "expected a list of texts");
        }
        texts
    }

    /// Takes an object; `None` if absent.
    pub(super) fn fields(&mut self, name: &str) -> Option<Self> {
        let path = self.path(name);
        self.take(name).and_then(|value| Self::of(value, &path, self.problems))
    }

    /// Takes a list of objects.
    pub(super) fn objects(&mut self, name: &str) -> Vec<Self> {
        let path = self.path(name);
        let items = self.list(name).unwrap_or_default().into_iter().enumerate();
        items.filter_map(|(number, item)| Self::of(item, &format!("{path}[{number}]"), self.problems)).collect()
    }

    /// Takes the name in a reference such as `{name: login}`.
    pub(super) fn name_in(&mut self, name: &str) -> Option<String> {
        let mut reference = self.fields(name)?;
        let found = reference.required("name");
        reference.end();
        found
    }

    /// Takes a field that has no counterpart: a problem if it is there.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        if self.take(name).is_some() {
            self.problem(name, why);
        }
    }

    /// Takes a field without an effect on the files that arrive.
    pub(super) fn ignore(&mut self, name: &str) {
        self.rest.remove(name);
    }

    /// Ends the reading: fields that are left are problems.
    pub(super) fn end(self) {
        for name in self.rest.keys() {
            self.problem(name, "unknown field");
        }
    }
}
