# docker build -t tomopipe .        torch without CUDA
# docker build -t tomopipe --build-arg TORCH_INDEX=https://pypi.org/simple .        torch with CUDA
# How to run it: docs/install.md. The same image for Apptainer: apptainer.def.
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/tomopipe
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tomopipe ./tomopipe
RUN python -m pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt -e ".[workflow]"
COPY Snakefile ./
COPY workflow ./workflow
COPY config ./config
COPY profiles ./profiles
# any user may run it: caches go where all may write
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/.cache
WORKDIR /data
CMD ["snakemake", "--snakefile", "/opt/tomopipe/Snakefile", "--help"]
