//! The command line of ostree-ext, which bootc and rpm-ostree build on.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    ostree_ext::cli::run_from_iter(std::env::args_os()).await
}
