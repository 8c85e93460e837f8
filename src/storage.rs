//! Directories on a volume, accessed only through handles.
//!
//! ```text
//! <root>/                    one per --volume NAME=PATH
//!   .supercargo/             0700, ours
//!     owner                  the installation that claimed the root; see `owner`
//!     lock                   shared by every process that uses the root; taken alone to sweep
//!     staging/<random>/      one per pass, removed with its [`Scratch`], or swept at the next start
//!     blobs/sha256/<key>     cached layers; `blob::store` decides which, and for how long
//!     lists/<key>/<tree>     entries of each published tree, a directory for each object; see `output::record`
//! ```
//!
//! A root is opened once. Below it no path is ever resolved through a link or out of the root: every call is relative
//! to a directory handle and goes through `open_dir`, `open_file` or `create_file`, which `beneath` confines to the
//! root. The callers decide which files may exist.
//!
//! A root may be temporary (`Volume::passing`): then all of it is removed with its last holder.

mod beneath;
mod entries;
mod error;
mod handle;
mod mount;
mod nameless;
mod on_volume;
mod owner;
mod passing;
mod pool;
mod room;
mod scratch;
mod volume;

pub(crate) use beneath::follow;
pub(crate) use entries::{all_names, all_names_up_to, names, names_up_to, remove_tree, replace_file};
pub(crate) use error::During;
pub use error::StorageError;
pub(crate) use handle::{create_file, is_component, make_dir, open_any_dir, open_dir, open_file, random_name, sync};
pub use mount::{Mount, Roots, Rule};
pub(crate) use nameless::link;
pub use on_volume::OnVolume;
pub use owner::{ClaimError, Inode, ancestry, overlap, owner};
pub use passing::Gone;
pub use pool::{Call, Pool};
pub use scratch::Scratch;
pub use volume::Volume;

#[cfg(test)]
mod tests;
