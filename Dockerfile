# docker build -t supercargo:0.1.0 --build-arg SUPERCARGO_COMMIT="$(git rev-parse HEAD)" \
#   --build-arg SUPERCARGO_COMMIT_DATE="$(git show --no-patch --format=%cI HEAD)" .      (BuildKit, for the cache mounts)

FROM rust:1.95.0-bookworm AS build
# The image's own toolchain, instead of fetching the one that rust-toolchain.toml describes with its lint components.
ENV RUSTUP_TOOLCHAIN=1.95.0
# For `supercargo version`: the context has no repository.
ARG SUPERCARGO_COMMIT=
ARG SUPERCARGO_COMMIT_DATE=
WORKDIR /src
COPY . .
# target/ stays in the cache mount, so the binary is copied out of it in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package supercargo --bin supercargo \
    && cp target/release/supercargo /supercargo

# glibc, libgcc and the CA certificates; no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="supercargo" \
      org.opencontainers.image.description="Brings OCI artifacts to where they are read" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /supercargo /usr/bin/supercargo
COPY LICENSE /usr/share/doc/supercargo/LICENSE
# By number: the kubelet cannot tell from a name that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/bin/supercargo"]
