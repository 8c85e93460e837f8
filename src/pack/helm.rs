//! Helm charts: directories, archives of `helm package`, and the rules by which Helm accepts them.

mod archive;
mod chart;
mod ignore;
mod metadata;
mod subcharts;
mod target;

pub use archive::ChartArchive;
pub use chart::Chart;
pub use target::{ChartSource, HelmChart};

pub(super) use chart::FILE;
pub(super) use ignore::HelmRule;
pub(super) use subcharts::check_directory;
