//! One file per bucket.

use std::path::Path;

use super::Split;
use super::routed::{Destination, Routed};
use crate::cli::exit::Failure;
use crate::cli::feed::Fed;
use crate::cli::input;
use crate::route::Router;
use crate::route::sink::{Error, Folder, Options};

impl Destination for Folder {
    fn failure(err: Error) -> anyhow::Error {
        match err {
            Error::Exists(_) => Failure::Exists(err.to_string()).into(),
            Error::Io { .. } => err.into(),
        }
    }
}

/// All inputs into one file per bucket in the folder `dir`; none is there unless all is well.
pub fn to_folder(
    args: &input::Args,
    dir: &Path,
    options: Options,
    router: Router,
    split: &mut Split,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let folder = Folder::new(dir, options).map_err(Folder::failure)?;
    let mut routed = Routed::new(router, folder, split);
    routed.run(args, fed)?;
    fed.progress.finish();
    routed.split.tell_unused(&routed.router);
    let left_out = routed.left_out();
    routed.split.rejects.finish()?;
    routed.outlets.finish(left_out).map_err(Folder::failure)
}
