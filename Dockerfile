# One image for every Spotcheck process; docker-compose.yml says which command each runs, and how it is looked after.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY worker worker
COPY prompts prompts
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv && /venv/bin/pip install '.[postgres]'

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --home-dir /app --no-create-home --shell /usr/sbin/nologin spotcheck \
 && install -d -o spotcheck -g spotcheck /app
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
# a process is healthy when its lane moves, and only the compose file knows which lane that is
HEALTHCHECK NONE
CMD ["spotcheck", "--help"]
