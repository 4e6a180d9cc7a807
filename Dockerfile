# The server and the web page, without torch: docker compose up
FROM python:3.11-slim
WORKDIR /inflect
COPY app/requirements.txt app/requirements.txt
RUN pip install --no-cache-dir --requirement app/requirements.txt
COPY app app
COPY stages stages
COPY models/pretrained models/pretrained
RUN useradd --no-create-home inflect
USER inflect
EXPOSE 8000
CMD ["python", "-m", "app.serve", "--host", "0.0.0.0"]
