# foreact with the simulator, on a CPU. Build: docker build -t foreact .
# Run: docker run --rm -v "$PWD/outputs:/foreact/outputs" foreact demo
FROM python:3.11-slim

RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6 git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/foreact
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# torch first and alone: the pin decides which build of it everything else is content with.
RUN pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir -c constraints.txt ".[policy,train,serve,sim]"
ENV MUJOCO_GL=egl
WORKDIR /foreact
ENTRYPOINT ["foreact"]
CMD ["--help"]
