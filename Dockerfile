# One image for every Spotcheck process; docker-compose.yml says which command each runs.
FROM python:3.12-slim
RUN useradd --create-home --uid 10001 spotcheck
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY worker worker
COPY prompts prompts
RUN pip install --no-cache-dir -c constraints.txt '.[postgres]' && rm -rf worker prompts && chown spotcheck /app
USER spotcheck
ENTRYPOINT []
CMD ["spotcheck", "status"]
